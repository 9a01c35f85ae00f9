import Testing

@testable import TieredStore

/// Proves which segments are opened, kept back, chosen for compaction and freed.
struct SegmentLogTests {
    private static let size = 64 << 10

    private func log(segments: Int, workers: Int = 1) -> SegmentLog {
        var options = StoreOptions.tiny
        options.segmentSize = Self.size
        options.tierCapacity = segments * Self.size
        options.workers = workers
        return SegmentLog(options: options)
    }

    /// A segment with records of `footprints`, all alive, sealed with `used` bytes appended.
    @discardableResult
    private func fill(_ log: SegmentLog, _ footprints: [Int], used: Int) throws -> [Address] {
        let segment = try #require(log.open(for: .demotion))
        var offset = 4096
        let addresses = footprints.map { count in
            defer { offset += count }
            return Address(segment: segment, version: log.version(segment), offset: offset, byteCount: count)
        }
        for address in addresses { log.add(address) }
        log.seal(segment, used: used, filled: footprints.reduce(0, +))
        return addresses
    }

    @Test func theLastRecordForgottenFreesASealedSegment() throws {
        let log = log(segments: 8)
        let addresses = try fill(log, [800, 800, 1600], used: Self.size)
        #expect(log.freeCount == 7 && log.liveBytes == 3200 && log.usedBytes == Self.size)
        log.forget(addresses[0])
        log.forget(addresses[2])
        #expect(log.freeCount == 7 && log.liveBytes == 800)
        #expect(log.describe(0).state == .sealed && log.describe(0).used == Self.size)
        log.forget(addresses[1])
        #expect(log.freeCount == 8 && log.liveBytes == 0 && log.usedBytes == 0)
        #expect(log.describe(0).state == .free && log.describe(0).used == 0)
        #expect(log.fileBytes == log.headerSize + Self.size, "the file stays as large")
    }

    @Test func anOpenSegmentIsFreedWhenSealed() throws {
        let log = log(segments: 8)
        let segment = try #require(log.open(for: .demotion))
        let address = Address(segment: segment, version: 1, offset: 4096, byteCount: 80)
        log.add(address)
        log.forget(address)
        #expect(log.describe(segment).state == .open && log.freeCount == 7)
        log.seal(segment, used: 8192, filled: 80)
        #expect(log.describe(segment).state == .free && log.freeCount == 8)
    }

    @Test func aWriteOnItsWayHoldsTheSegment() throws {
        let log = log(segments: 8)
        let segment = try #require(log.open(for: .demotion))
        log.writeStarted(segment)
        log.writeStarted(segment)
        log.seal(segment, used: 8192, filled: 80)
        log.writeEnded(segment)
        #expect(log.freeCount == 7 && log.claimVictim(below: 1) == nil)
        log.writeEnded(segment)
        #expect(log.freeCount == 8)
    }

    /// Method: a reader with an old address must see that the segment is another by now.
    @Test func everyOpeningIsAnotherVersion() throws {
        let log = log(segments: 8)
        var versions: Set<UInt32> = []
        for _ in 0..<10 {
            let segment = try #require(log.open(for: .compaction))
            #expect(segment == 0 && log.version(0) != 0)
            versions.insert(log.version(segment))
            log.returnUnwritten(segment)
        }
        #expect(versions.count == 10)
    }

    @Test(arguments: [(1, 64, 2), (4, 64, 5), (4, 8, 2), (1, 2, 1), (64, 64, 16)])
    func theReserveIsKeptForCompaction(_ workers: Int, _ segments: Int, _ reserve: Int) {
        let log = log(segments: segments, workers: workers)
        var opened: [Int] = []
        while let segment = log.open(for: .demotion) { opened.append(segment) }
        #expect(opened.count == segments - reserve && log.freeCount == reserve && log.reserve == reserve)
        while let segment = log.open(for: .compaction) { opened.append(segment) }
        #expect(opened.sorted() == Array(0..<segments) && log.freeCount == 0)
        log.seal(opened[0], used: 4096, filled: 0)
        #expect(log.freeCount == 1 && log.open(for: .demotion) == nil)
        #expect(log.open(for: .compaction) == opened[0])
    }

    @Test func aLogWithoutSegmentsHasNone() {
        let log = log(segments: 0)
        #expect(log.open(for: .demotion) == nil && log.open(for: .compaction) == nil)
        #expect(log.claimVictim(below: 1) == nil && !log.hasVictim(below: 1) && log.capacityBytes == 0)
    }

    @Test func theVictimIsTheOneWhoseRecordsTakeLeastRoom() throws {
        let log = log(segments: 16)
        var addresses: [[Address]] = []
        for _ in 0..<4 {
            addresses.append(try fill(log, [Int](repeating: 4096, count: 15), used: Self.size))
        }
        for (segment, dead) in [(0, 3), (1, 9), (2, 12), (3, 5)] {
            for address in addresses[segment].prefix(dead) { log.forget(address) }
        }
        #expect(!log.hasVictim(below: 0.1) && log.claimVictim(below: 0.1) == nil)
        #expect(log.hasVictim(below: 0.95))
        var order: [Int] = []
        while let victim = log.claimVictim(below: 0.95) {
            #expect(log.describe(victim).state == .compacting)
            order.append(victim)
        }
        #expect(order == [2, 1, 3, 0])
    }

    /// Method: two segments, all alive; the first left half of every block open. It looks half dead
    /// by its bytes, but its records will leave as much open wherever they go.
    @Test func openBlocksAreNoGain() throws {
        let log = log(segments: 16)
        let half = try fill(log, [Int](repeating: 2048, count: 15), used: Self.size)
        try fill(log, [Int](repeating: 4096, count: 15), used: Self.size)
        #expect(log.room(for: 15 * 2048, of: 0) == Self.size)
        #expect(!log.hasVictim(below: 0.95) && log.claimVictim(below: 0.95) == nil)
        for address in half.prefix(5) { log.forget(address) }
        #expect(log.room(for: 10 * 2048, of: 0) == Self.size * 2 / 3)
        #expect(log.claimVictim(below: 0.6) == nil)
        #expect(log.claimVictim(below: 0.95) == 0)
    }

    @Test func whatIsSealedLaterIsNotClaimed() throws {
        let log = log(segments: 16)
        func sparse() throws {
            let addresses = try fill(log, [4096, 4096, 4096, 4096], used: 5 * 4096)
            for address in addresses.dropFirst() { log.forget(address) }
        }
        try sparse()
        try sparse()
        let count = log.sealCount
        #expect(count == 2)
        try sparse()
        #expect(log.claimVictim(below: 0.95, before: 0) == nil)
        let claimed = [1, 2, 3].map { _ in log.claimVictim(below: 0.95, before: count) }
        #expect(claimed == [0, 1, nil])
        #expect(log.claimVictim(below: 0.95, before: log.sealCount) == 2)
    }

    @Test func aVictimIsFreedWhenItsSurvivorsHaveLeft() throws {
        let log = log(segments: 16)
        let addresses = try fill(log, [4096, 4096, 4096], used: 4 * 4096)
        log.forget(addresses[0])
        let victim = try #require(log.claimVictim(below: 0.95))
        // Survivors leave while it is still read: it must not be reused before the end.
        log.forget(addresses[1])
        log.forget(addresses[2])
        #expect(log.freeCount == 15 && log.describe(victim).state == .compacting)
        log.releaseVictim(victim)
        #expect(log.freeCount == 16 && log.describe(victim).state == .free)
    }

    @Test func aVictimThatKeptSomethingRests() throws {
        let log = log(segments: 16)
        let addresses = try fill(log, [4096, 4096, 4096], used: 4 * 4096)
        log.forget(addresses[0])
        let victim = try #require(log.claimVictim(below: 0.95))
        log.releaseVictim(victim)
        #expect(log.describe(victim).state == .sealed)
        var claims = 1
        while log.claimVictim(below: 0.95) == nil, claims < 1000 { claims += 1 }
        #expect(claims == 65)
    }

    /// Method: the disk has no room for a new segment; two that have their blocks are left.
    @Test func withoutSpaceOnlyPreparedSegmentsAreOpened() throws {
        let log = log(segments: 8)
        for segment in 0..<2 {
            #expect(log.open(for: .compaction) == segment)
            #expect(!log.prepare(segment) && log.prepare(segment))
        }
        let third = try #require(log.open(for: .compaction))
        #expect(!log.prepare(third))
        log.unprepare(third)
        for segment in 0...third { log.returnUnwritten(segment) }
        log.isOutOfSpace = true
        var opened: [Int] = []
        while let segment = log.open(for: .compaction) { opened.append(segment) }
        #expect(opened.sorted() == [0, 1] && log.freeCount == 6)
        // Something was freed: the disk may have room again.
        log.seal(0, used: 4096, filled: 0)
        #expect(!log.isOutOfSpace && log.open(for: .compaction) != nil)
    }
}
