import CSystem
import Glibc
import Primitives
import Testing

@testable import TieredStore

/// Checkpoints written, loaded, damaged and made to do harm; segments kept for them; the log without one.
@Suite struct CheckpointTests {
    private static let names = (0..<60).map { "key:\($0)" }

    private static func value(_ i: Int) -> [UInt8] { StoreBench.noise(60 + i * 37 % 900, seed: UInt64(i)) }

    private func makeBench(after other: StoreBench? = nil) throws -> StoreBench {
        try StoreBench(disk: other?.disk) {
            $0.tierIdentity = 77
            $0.memoryLimit = 8 << 20
        }
    }

    /// Strings in RAM and on the SSD, small and large collections, an expiry, databases exchanged.
    private func fill(_ bench: StoreBench) throws {
        for (i, name) in Self.names.enumerated() {
            let expiry = i % 7 == 0 ? ExpiryChange.at(bench.now + 100_000) : .none
            bench.set(name, Self.value(i), expiry: expiry)
        }
        bench.demote(Array(Self.names.prefix(40)))
        _ = try bench.get(Self.names[3])
        try bench.with(["small", "large", "list", "zset", "set"]) { keys in
            for (i, count) in [(0, 5), (1, 700)] {
                let hash = try keys.hash(i)
                for n in 0..<count {
                    try Array("f\(n)".utf8).withView { field in
                        _ = try Array("v\(n)".utf8).withView { try hash.set(field, $0) }
                    }
                }
            }
            for n in 0..<20 {
                try Array("e\(n)".utf8).withView { bytes in
                    _ = try keys.list(2).push(bytes, .tail)
                    _ = try keys.sortedSet(3).set(bytes, Double(n))
                }
                _ = try Array("\(n * 3)".utf8).withView { try keys.set(4).add($0) }
            }
        }
        bench.set("second", Self.value(5), database: 1)
        bench.store.swapDatabases(0, 1)
    }

    /// Begins a checkpoint and carries it to its end; `meanwhile` is done after so many turns.
    private func checkpoint(
        _ bench: StoreBench, after turns: Int = 0, _ meanwhile: () throws -> Void = {}
    ) throws -> [UInt8] {
        var failure: Int?
        let file = DiskFile(number: 1)
        bench.files[1] = []
        let begun = try #require(bench.store.beginCheckpoint(
            file, libraries: [Array("#!lua name=x\n".utf8)], blockSize: 4096, wake: {},
            ended: { failure = $0 }))
        bench.turn(turns)
        try meanwhile()
        for _ in 0..<10_000 where failure == nil { bench.turn() }
        #expect(failure == 0 && begun.snapshot.isOver)
        return try durable(bench, begun)
    }

    /// Writes the checkpoint of a store that ends; nil if that fails.
    private func lastCheckpoint(_ bench: StoreBench) throws -> [UInt8]? {
        var failure: Int?
        let file = DiskFile(number: 1)
        bench.files[1] = []
        let begun = try #require(bench.store.beginCheckpoint(
            file, libraries: [], blockSize: 4096, isLast: true, wake: {}, ended: { failure = $0 }))
        // As `Checkpoint.walk`: nothing else is done, and who has nothing to do waits until something is
        // written.
        let part = begun.snapshot.parts[0]
        for _ in 0..<10_000 where failure == nil {
            let hadWalked = part.hasWalked
            var goesOn = bench.worker.saveSlice() || part.hasWalked && !hadWalked || failure != nil
            bench.collect()
            if !bench.pending.isEmpty { goesOn = true }
            bench.settle()
            while begun.snapshot.file.writeOne({ memory, count, offset in
                bench.write(file, memory, count, at: offset)
                return count
            }) { goesOn = true }
            #expect(goesOn, "the walk waits for ever")
            if !goesOn { break }
        }
        return failure == 0 ? try durable(bench, begun) : nil
    }

    private func durable(_ bench: StoreBench, _ begun: Checkpoint) throws -> [UInt8] {
        bench.store.log.checkpointIsDurable(begun.number)
        return try #require(bench.files[1])
    }

    /// `version`: of a segment as the tier file has it, as after a crash.
    private func load(
        _ bytes: [UInt8], _ bench: StoreBench, version: ((Int) -> UInt32?)? = nil
    ) throws(CheckpointError) {
        let load = try CheckpointLoad(bench.store, byteCount: bytes.count) { target, count, offset in
            guard offset >= 0, count <= bytes.count - offset else { return false }
            bytes.withView { target.copyMemory(from: $0.base + offset, byteCount: count) }
            return true
        }
        do throws(CheckpointError) {
            try load.begin(version: version)
            while load.hasMore { _ = load.takeBlocks(bench.worker, isHurried: true) }
            try load.finish()
        } catch {
            load.undo()
            throw error
        }
    }

    /// All there is, as text that can be compared.
    private func picture(_ bench: StoreBench) throws -> [String] {
        var lines: [String] = []
        for database in 0..<2 {
            var names: [String] = []
            bench.worker.forEachKey(database: database) { name, _ in names.append(name.text) }
            for name in names.sorted() {
                // Read beside the index: nothing is promoted, and none of it changes what is looked at.
                let staged = bench.stage(name, database: database)
                if staged != nil { bench.settle() }
                for _ in 0..<50 where staged != nil && !bench.worker.hasRunnable { bench.turn() }
                let dump = try bench.with([name], database: database) { try $0.dump(0) }
                if let staged { bench.worker.unstage(staged) }
                let expiry = bench.with([name], database: database) { $0.entry(0)?.expiry }
                lines.append("\(database) \(name) \(expiry ?? 0) \(dump ?? [])")
            }
        }
        return lines
    }

    @Test func whatWasThereIsThere() throws {
        let bench = try makeBench()
        try fill(bench)
        let wanted = try picture(bench), live = bench.store.log.liveBytes
        let bytes = try checkpoint(bench)
        let other = try makeBench(after: bench)
        try load(bytes, other)
        #expect(try picture(other) == wanted && wanted.count == 66)
        #expect(other.store.log.liveBytes == live)
        #expect(other.store.log.lastSequence >= bench.store.log.lastSequence)
        #expect(other.store.demotedItems >= 40, "what was clean comes back demoted")
        // And what it has can be emptied: live bytes were counted right.
        for database in 0..<2 { _ = other.worker.flush(database: database) }
        #expect(other.store.log.liveBytes == 0 && other.store.residentItems == 0)
        #expect(other.store.log.freeCount == other.store.log.usableCount)
    }

    /// Method: all of it is in RAM and dirty but for what was demoted before.
    @Test func theLastHasAddressesAndWhatWasInRAMComesBack() throws {
        let bench = try makeBench()
        try fill(bench)
        let wanted = try picture(bench), resident = bench.store.residentItems
        let bytes = try #require(try lastCheckpoint(bench))
        let other = try makeBench(after: bench)
        try load(bytes, other)
        #expect(other.store.residentItems == 0, "all values are on the SSD")
        #expect(try picture(other) == wanted)
        let reads = other.reads, counters = other.worker.counters, promoted = other.store.residentItems
        other.store.beginWarmUp()
        for _ in 0..<1000 where other.store.isWarmingUp { other.turn() }
        #expect(other.store.residentItems == resident && !other.store.isWarmingUp)
        #expect(other.reads - reads < resident, "values written together come with one read")
        #expect(other.worker.counters.warmedValues == UInt64(resident - promoted))
        #expect(other.worker.counters.coldReads == counters.coldReads, "nobody waited for them")
        #expect(try picture(other) == wanted)
    }

    /// Deleted, changed, moved by compaction, out of date or demoted again: whatever happens to a key while
    /// its value is on the way, the value is that of now.
    @Test(arguments: 0..<4) func whatComesBackIsNotTheValueOfBefore(_ turns: Int) throws {
        let bench = try makeBench()
        try fill(bench)
        let bytes = try #require(try lastCheckpoint(bench))
        let other = try makeBench(after: bench)
        try load(bytes, other)
        other.store.beginWarmUp()
        for _ in 0..<turns {
            _ = other.worker.background()
            other.collect()
            if !other.pending.isEmpty { other.answerOne() }
        }
        for (i, name) in Self.names.enumerated() {
            switch i % 3 {
            case 0: other.with([name], database: 1) { _ = $0.delete(0) }
            case 1: other.set(name, Self.value(i + 1), database: 1)
            default: continue
            }
        }
        other.worker.compactEverything()
        for _ in 0..<1000 where other.store.isWarmingUp { other.turn() }
        other.turn(20)
        for (i, name) in Self.names.enumerated() {
            let wanted = i % 3 == 0 ? nil : Self.value(i % 3 == 1 ? i + 1 : i)
            #expect(try other.get(name, database: 1) == wanted, "\(name)")
        }
        #expect(other.worker.counters.checksumErrors == 0 && other.worker.staging.count == 0)
    }

    /// Values longer than a segment are long values one after the other. Method: the disk has always done
    /// what it was asked before the walk looks, so that nobody wakes a walk that waits.
    @Test func theLastWaitsForNothingThatWillNotCome() throws {
        let bench = try makeBench()
        for i in 0..<5 { bench.set("long:\(i)", StoreBench.noise(200_000, seed: UInt64(i))) }
        let wanted = try picture(bench)
        let bytes = try #require(try lastCheckpoint(bench))
        let other = try makeBench(after: bench)
        try load(bytes, other)
        #expect(try picture(other) == wanted)
    }

    @Test func theLastIsOfNoUseWhenARecordCannotBeWritten() throws {
        let bench = try makeBench()
        try fill(bench)
        bench.failures[.write] = -Int(EIO)
        #expect(try lastCheckpoint(bench) == nil)
        // The values have stayed where they were.
        bench.failures = [:]
        let wanted = try picture(bench)
        let bytes = try checkpoint(bench)
        let other = try makeBench(after: bench)
        try load(bytes, other)
        #expect(try picture(other) == wanted)
    }

    /// Method: everything is changed while the checkpoint is being written.
    @Test(arguments: 0..<6) func itIsThePictureOfItsBeginning(_ turns: Int) throws {
        let bench = try makeBench()
        try fill(bench)
        bench.store.log.keepsRetired = true
        let wanted = try picture(bench)
        let bytes = try checkpoint(bench, after: turns) {
            for (i, name) in Self.names.enumerated() {
                switch i % 4 {
                case 0: bench.with([name], database: 1) { _ = $0.delete(0) }
                case 1: bench.set(name, [1, 2, 3], database: 1)
                case 2: bench.set("new:\(i)", Self.value(i), database: 1)
                default: continue
                }
            }
            bench.with(["large"], database: 1) { _ = $0.delete(0) }
            bench.worker.compactEverything()
            bench.turn(20)
        }
        let other = try makeBench(after: bench)
        try load(bytes, other)
        #expect(try picture(other) == wanted)
    }

    /// Method: each byte of a small checkpoint in turn; it is refused, or its content is the same: bytes
    /// that only fill up are not looked at.
    @Test func everyByteIsCheckedOrOfNoMeaning() throws {
        let bench = try makeBench()
        try fill(bench)
        let wanted = try picture(bench), bytes = try checkpoint(bench)
        let other = try makeBench(after: bench)
        var refused = 0
        for place in bytes.indices {
            // What fills a page up is the same everywhere: some of it is enough.
            if bytes[place] == 0, place % 31 != 0 { continue }
            var damaged = bytes
            damaged[place] ^= 1 << UInt8(place % 8)
            do throws(CheckpointError) {
                try load(damaged, other)
                let got = try? picture(other)
                #expect(got == wanted, "byte \(place)")
                for database in 0..<2 { _ = other.worker.flush(database: database) }
            } catch {
                refused += 1
                #expect(other.store.log.liveBytes == 0 && other.store.keyCount(database: 0) == 0)
            }
        }
        #expect(refused > 10_000)
        try load(bytes, other)
        #expect(try picture(other) == wanted, "nothing is left of those that were refused")
    }

    @Test func aCheckpointThatIsCutOffIsRefused() throws {
        let bench = try makeBench()
        try fill(bench)
        let bytes = try checkpoint(bench)
        let other = try makeBench(after: bench)
        for length in stride(from: 0, to: bytes.count, by: 13) {
            #expect(throws: CheckpointError.self) { try load(Array(bytes.prefix(length)), other) }
        }
        try load(bytes, other)
    }

    /// Method: bytes are changed and the checksums made right again, as in a file made to do harm: no crash.
    @Test(arguments: 0..<4) func aCheckpointMadeToDoHarmDoesNone(_ seed: Int) throws {
        let bench = try makeBench()
        try fill(bench)
        let bytes = try checkpoint(bench)
        var random = Random(seed: UInt64(seed))
        for _ in 0..<600 {
            let other = try makeBench(after: bench)
            var harmful = bytes
            for _ in 0..<(1 + random.below(3)) {
                let place = Int(random.below(UInt64(bytes.count)))
                harmful[place] = random.below(2) == 0 ? UInt8(random.below(256)) : 255
            }
            Self.repair(&harmful)
            try? load(harmful, other)
        }
    }

    /// Makes all checksums right.
    private static func repair(_ bytes: inout [UInt8]) {
        bytes.withUnsafeMutableBytes { buffer in
            let base = buffer.baseAddress!, count = buffer.count
            let head = Int(base.loadUnaligned(fromByteOffset: 12, as: UInt32.self))
            if head >= 68, head <= count {
                let checksum = csystem_crc32c(0, base, head - 4)
                base.storeBytes(of: checksum, toByteOffset: head - 4, as: UInt32.self)
            }
            var at = 4096
            while at + 24 <= count {
                let length = base.loadUnaligned(fromByteOffset: at + 8, as: UInt64.self)
                guard length <= UInt64(count - at - 24) else { at += 4096; continue }
                let checksum = csystem_crc32c(0, base + at + 8, Int(length) + 16)
                base.storeBytes(of: checksum, toByteOffset: at + 4, as: UInt32.self)
                at = (at + 24 + Int(length) + 4095) & ~4095
            }
        }
    }

    @Test func anotherTierFilesIsRefused() throws {
        let bench = try makeBench()
        try fill(bench)
        let bytes = try checkpoint(bench)
        let other = try StoreBench { $0.tierIdentity = 78 }
        #expect(throws: CheckpointError(.otherTierFile)) { try load(bytes, other) }
        var newer = bytes
        newer[8] = 99
        #expect(throws: CheckpointError(.newerFormat(99))) { try load(newer, other) }
    }

    // MARK: Segments

    /// Method: a checkpoint, then everything is overwritten and demoted again and again, until there are no
    /// free segments left. The checkpoint can still be loaded and every value read.
    @Test func whatTheLastCheckpointRefersToIsKept() throws {
        let bench = try StoreBench {
            $0.tierIdentity = 77
            $0.tierCapacity = 24 * $0.segmentSize
        }
        let log = bench.store.log
        log.keepsRetired = true
        for (i, name) in Self.names.enumerated() { bench.set(name, Self.value(i)) }
        bench.demote(Self.names)
        let wanted = try picture(bench), bytes = try checkpoint(bench)
        var rounds = 0
        while !log.wantsCheckpoint, rounds < 1000 {
            rounds += 1
            for (i, name) in Self.names.enumerated() { bench.set(name, Self.value(i + rounds)) }
            bench.demote(Self.names)
            bench.turn(3)
        }
        #expect(rounds > 3 && log.retiredCount > 0 && log.inUseCount + log.freeCount == log.segmentCount)
        let other = try StoreBench(disk: bench.disk) {
            $0.tierIdentity = 77
            $0.tierCapacity = 24 * $0.segmentSize
        }
        try load(bytes, other) { segment in
            let header = bench.disk.base + log.position(segment, 0)
            return SegmentHeader.decode(header, segment: segment, identity: 77)
        }
        #expect(try picture(other) == wanted)
        for segment in 0..<log.segmentCount where other.store.log.describe(segment).state == .free {
            #expect(other.store.log.version(segment) >= log.version(segment), "no version comes twice")
        }
        #expect(other.store.log.lastSequence > log.lastSequence)
        let retired = log.retiredCount
        _ = try checkpoint(bench)
        #expect(log.retiredCount < retired && log.freeCount > 3 && !log.wantsCheckpoint)
        log.keepsRetired = false
        #expect(log.retiredCount == 0)
    }

    /// Method: a segment the checkpoint refers to is opened again, as without `keepsRetired`.
    @Test func aCheckpointWhoseSegmentWasUsedAgainIsRefused() throws {
        let bench = try makeBench()
        try fill(bench)
        let bytes = try checkpoint(bench), log = bench.store.log
        for database in 0..<2 { _ = bench.worker.flush(database: database) }
        bench.worker.closeLog()
        bench.settle()
        bench.set("other", Self.value(1))
        bench.demote("other")
        let other = try makeBench(after: bench)
        #expect(throws: CheckpointError.self) {
            try load(bytes, other) { segment in
                let header = bench.disk.base + log.position(segment, 0)
                return SegmentHeader.decode(header, segment: segment, identity: 77)
            }
        }
    }

    // MARK: The log alone

    private func scan(_ bench: StoreBench, _ other: StoreBench) -> LogScan {
        var superblock = Superblock(
            segmentSize: bench.store.log.segmentSize, segmentCount: bench.store.log.segmentCount,
            generation: 1, hashSeed: bench.store.options.hashSeed)
        superblock.identity = bench.store.log.identity
        superblock.swaps = bench.store.databaseSwaps
        let scan = LogScan(other.store, superblock, nil) { target, count, offset in
            target.copyMemory(from: bench.disk.base + offset, byteCount: count)
            return true
        }
        scan.takeHeaders(other.worker)
        scan.begin(other.worker)
        scan.takeSegments(other.worker)
        scan.finish()
        return scan
    }

    /// Method: each key is written several times, with compaction in between; records of an older life of
    /// the file, with another hash seed, lie in the segments too.
    @Test func theNewestRecordOfEachKeyIsFound() throws {
        let old = try StoreBench {
            $0.tierIdentity = 5
            $0.hashSeed = 99
        }
        for (i, name) in Self.names.enumerated() { old.set(name, Self.value(i + 500)) }
        old.demote(Self.names)
        let bench = try makeBench(after: old)
        for round in 0..<5 {
            for (i, name) in Self.names.enumerated() where round == 0 || (i + round) % 3 == 0 {
                bench.set(name, Self.value(i + round * 100), expiry: i == 9 ? .at(bench.now + 50) : .none)
            }
            bench.demote(Self.names)
            bench.worker.compactEverything()
            bench.turn(10)
        }
        bench.set("second", Self.value(5), database: 1)
        bench.with(["second"], database: 1) { _ = $0.demote(0) }
        bench.worker.flushIfIdle()
        bench.settle()
        bench.store.swapDatabases(0, 1)
        let wanted = try picture(bench)
        let other = try makeBench(after: bench)
        other.advance(milliseconds: Int64(bench.now - other.now))
        let scan = scan(bench, other)
        #expect(try picture(other) == wanted && wanted.count == 60)
        #expect(scan.keys == 60 && scan.damaged == 0 && scan.records >= 60)
        #expect(other.store.log.lastSequence > bench.store.log.lastSequence)
        #expect(other.store.log.liveBytes == bench.store.log.liveBytes)
        // It goes on as any other: what is written now is read again, and all of it can be freed.
        other.set("key:1", [1, 2, 3], database: 1)
        for database in 0..<2 { _ = other.worker.flush(database: database) }
        #expect(other.store.log.liveBytes == 0 && other.store.log.inUseCount == 0)
    }

    /// Method: bits of the tier file are flipped; what is damaged is passed over, what is found is right.
    @Test func damagedRecordsAreLeftOut() throws {
        let bench = try makeBench()
        for (i, name) in Self.names.enumerated() { bench.set(name, Self.value(i)) }
        bench.demote(Self.names)
        let wanted = try picture(bench)
        var random = Random(seed: 4)
        let written = bench.store.log.position(1, 0) - bench.store.log.headerSize
        for _ in 0..<40 {
            let at = bench.store.log.headerSize + 4096 + Int(random.below(UInt64(written - 4096)))
            let byte = (bench.disk.base + at).load(as: UInt8.self)
            (bench.disk.base + at).storeBytes(of: byte ^ 4, as: UInt8.self)
        }
        let other = try makeBench(after: bench)
        let scan = scan(bench, other)
        let got = try picture(other)
        #expect(scan.damaged > 0 && scan.keys < 60 && Set(got).isSubset(of: wanted))
    }

    // MARK: Size of the tier file

    /// Method: what was in a file of 32 segments is taken over by one that may have 8.
    @Test func aSmallerLimitLosesNothingAndOpensNothingBeyond() throws {
        func log(_ capacity: Int, kept: Int) -> SegmentLog {
            var options = StoreOptions.tiny
            options.tierCapacity = capacity * options.segmentSize
            options.tierHeaderSize = Superblock.reserved(segments: 32)
            options.tierSegmentsKept = kept
            return SegmentLog(options: options)
        }
        let log = log(8, kept: 20)
        #expect(log.segmentCount == 20 && log.usableCount == 8)
        for segment in [2, 19] {
            log.recover(segment, .init(state: .sealed, version: 3, used: 8192, live: 0, filled: 800))
            log.addLive(segment, 800)
        }
        log.settleRecovered()
        #expect(log.freeCount == 7 && log.inUseCount == 2 && log.liveBytes == 1600)
        var opened: [Int] = []
        while let segment = log.open(for: .compaction) { opened.append(segment) }
        #expect(opened.sorted() == [0, 1, 3, 4, 5, 6, 7])
        log.subtract(19, 800)
        #expect(log.describe(19).state == .free && log.freeCount == 0 && log.inUseCount == 8)
        log.subtract(2, 800)
        #expect(log.open(for: .compaction) == 2 && log.version(2) == 4)
    }
}
