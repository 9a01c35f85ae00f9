import Primitives
import Testing

@testable import TieredStore

/// Method: drives a log of few segments through its states by hand, without a disk; then at random
/// against the plainest account of what is alive where.
@Suite struct SegmentLogTests {
    static func log(segments: Int, workers: Int = 1) -> SegmentLog {
        var options = StoreOptions.tiny
        options.tierCapacity = options.segmentSize * segments
        options.workers = workers
        return SegmentLog(options: options)
    }

    static func record(_ log: SegmentLog, _ segment: Int, _ bytes: Int = 800) -> Address {
        Address(segment: segment, version: log.version(segment), offset: 4096, byteCount: bytes)
    }

    @Test func aNewLogIsFreeAltogether() {
        let log = SegmentLogTests.log(segments: 16)
        #expect(log.segmentCount == 16)
        #expect(log.freeCount == 16)
        #expect(log.usedBytes == 0)
        #expect(log.liveBytes == 0)
        #expect(log.fileBytes == log.headerSize)
        #expect(log.capacityBytes == 16 * log.segmentSize)
    }

    @Test func segmentsDoNotOverlapInTheFile() {
        let log = SegmentLogTests.log(segments: 16)
        #expect(log.position(0, 0) == log.headerSize)
        #expect(log.headerSize % 4096 == 0)
        for segment in 1..<16 {
            #expect(log.position(segment, 0) == log.position(segment - 1, log.segmentSize))
        }
    }

    @Test func eachOpeningIsANewVersion() throws {
        let log = SegmentLogTests.log(segments: 16)
        let segment = try #require(log.open(for: .compaction))
        let version = log.version(segment)
        log.seal(segment, used: 4096)
        #expect(log.describe(segment).state == .free)
        #expect(try #require(log.open(for: .compaction)) == segment)
        #expect(log.version(segment) == version + 1)
    }

    @Test func demotionLeavesTheReserveToCompaction() {
        for workers in 1...3 {
            let log = SegmentLogTests.log(segments: 16, workers: workers)
            var opened = 0
            while log.open(for: .demotion) != nil { opened += 1 }
            #expect(opened == 16 - (workers + 1))
            #expect(log.freeCount == log.reserve)
            while log.open(for: .compaction) != nil { opened += 1 }
            #expect(opened == 16)
            #expect(log.freeCount == 0)
            #expect(log.usedBytes == log.capacityBytes)
        }
    }

    @Test func aSealedSegmentIsFreedWithItsLastRecord() throws {
        let log = SegmentLogTests.log(segments: 16)
        let segment = try #require(log.open(for: .demotion))
        let first = SegmentLogTests.record(log, segment), second = SegmentLogTests.record(log, segment, 100)
        log.add(first)
        log.add(second)
        #expect(log.liveBytes(segment) == first.footprint + second.footprint)
        log.seal(segment, used: 8192)
        log.forget(first)
        #expect(log.describe(segment).state == .sealed)
        #expect(log.freeCount == 15)
        log.forget(second)
        #expect(log.describe(segment).state == .free)
        #expect(log.freeCount == 16)
        #expect(log.liveBytes == 0)
    }

    @Test func anOpenSegmentIsNotFreedThoughNothingInItIsAlive() throws {
        let log = SegmentLogTests.log(segments: 16)
        let segment = try #require(log.open(for: .demotion))
        let record = SegmentLogTests.record(log, segment)
        log.add(record)
        log.forget(record)
        #expect(log.describe(segment).state == .open)
        log.seal(segment, used: 8192)
        #expect(log.describe(segment).state == .free)
    }

    @Test func aSegmentWithAWriteOnItsWayIsNotReused() throws {
        let log = SegmentLogTests.log(segments: 16)
        let segment = try #require(log.open(for: .demotion))
        log.writeStarted(segment)
        log.writeStarted(segment)
        log.seal(segment, used: 8192)
        #expect(log.claimVictim(below: 1) == nil)
        log.writeEnded(segment)
        #expect(log.describe(segment).state == .sealed)
        log.writeEnded(segment)
        #expect(log.describe(segment).state == .free)
    }

    @Test func theVictimIsTheSealedSegmentWithLeastAlive() throws {
        let log = SegmentLogTests.log(segments: 16)
        var segments: [Int] = []
        for bytes in [30_000, 10_000, 20_000] {
            let segment = try #require(log.open(for: .demotion))
            log.add(SegmentLogTests.record(log, segment, bytes))
            log.seal(segment, used: log.segmentSize)
            segments.append(segment)
        }
        #expect(!log.hasVictim(below: 0.1))
        #expect(log.claimVictim(below: 0.1) == nil)
        #expect(log.hasVictim(below: 0.95))
        #expect(log.claimVictim(below: 0.95) == segments[1])
        #expect(log.describe(segments[1]).state == .compacting)
        #expect(log.claimVictim(below: 0.95) == segments[2])
        #expect(log.claimVictim(below: 0.95) == segments[0])
        #expect(log.claimVictim(below: 0.95) == nil)
    }

    @Test func aVictimIsFreedOnceItsSurvivorsHaveLeft() throws {
        let log = SegmentLogTests.log(segments: 16)
        let segment = try #require(log.open(for: .demotion))
        let survivor = SegmentLogTests.record(log, segment)
        log.add(survivor)
        log.seal(segment, used: 8192)
        #expect(log.claimVictim(below: 1) == segment)
        log.forget(survivor)
        #expect(log.describe(segment).state == .compacting)
        log.releaseVictim(segment)
        #expect(log.describe(segment).state == .free)
    }

    @Test func aVictimInWhichSomethingStayedIsLeftAloneForAWhile() throws {
        let log = SegmentLogTests.log(segments: 16)
        let segment = try #require(log.open(for: .demotion))
        log.add(SegmentLogTests.record(log, segment))
        log.seal(segment, used: 8192)
        #expect(log.claimVictim(below: 1) == segment)
        log.releaseVictim(segment)
        var claims = 1
        while log.claimVictim(below: 1) == nil { claims += 1 }
        #expect(claims == 65)
    }

    @Test func aFullDiskOpensOnlySegmentsThatHaveTheirBlocks() throws {
        let log = SegmentLogTests.log(segments: 16)
        let used = try #require(log.open(for: .demotion)), fresh = try #require(log.open(for: .demotion))
        #expect(!log.prepare(used))
        #expect(log.prepare(used))
        #expect(!log.prepare(fresh))
        log.unprepare(fresh)
        log.seal(used, used: 4096)
        log.seal(fresh, used: 4096)
        log.isOutOfSpace = true
        #expect(log.open(for: .demotion) == used)
        #expect(log.open(for: .demotion) == nil)
        log.seal(used, used: 4096)
        #expect(!log.isOutOfSpace)
        #expect(log.open(for: .demotion) != nil)
    }

    @Test func theFileIsAsLongAsTheHighestSegmentEverUsed() throws {
        let log = SegmentLogTests.log(segments: 16)
        for _ in 0..<3 { _ = log.open(for: .demotion) }
        #expect(log.fileBytes == log.headerSize + 3 * log.segmentSize)
        for segment in 0..<3 { log.seal(segment, used: 4096) }
        #expect(log.fileBytes == log.headerSize + 3 * log.segmentSize)
    }

    @Test func sequenceNumbersAreNeverGivenTwice() {
        let log = SegmentLogTests.log(segments: 4)
        let numbers = (0..<1000).map { _ in log.sequence() }
        #expect(Set(numbers).count == 1000)
        #expect(numbers == numbers.sorted())
        #expect(numbers[0] > 0)
    }

    @Test(arguments: 1...8) func liveBytesAreWhatTheAccountSays(_ seed: UInt64) throws {
        var random = Random(seed: seed)
        let log = SegmentLogTests.log(segments: 12)
        var open: Int?
        var alive: [Address] = []
        for step in 0..<4000 {
            switch random.below(8) {
            case 0..<3:
                open = open ?? log.open(for: random.below(2) == 0 ? .demotion : .compaction)
                guard let open else { continue }
                let record = SegmentLogTests.record(log, open, 1 + Int(random.below(20_000)))
                log.add(record)
                alive.append(record)
            case 3..<6:
                guard !alive.isEmpty else { continue }
                let last = alive.count - 1
                alive.swapAt(Int(random.below(UInt64(alive.count))), last)
                log.forget(alive.removeLast())
            case 6:
                if let segment = open { log.seal(segment, used: 4096 * (1 + step % 16)) }
                open = nil
            default: if let victim = log.claimVictim(below: 0.9) { log.releaseVictim(victim) }
            }
            let held = Set(alive.map { $0.segment } + [open].compactMap { $0 })
            try #require(log.liveBytes == alive.reduce(0) { $0 + $1.footprint })
            try #require(log.freeCount == 12 - held.count)
        }
        for record in alive { log.forget(record) }
        if let open { log.seal(open, used: 4096) }
        #expect(log.freeCount == 12)
    }
}
