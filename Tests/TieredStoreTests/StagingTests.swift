import Glibc
import Primitives
import Testing

@testable import TieredStore

/// Method: values are demoted to a disk in memory and wanted again; the disk answers late, damaged,
/// or with an error, and keys change meanwhile. What a session gets is the key's value or an error.
@Suite struct StagingTests {
    /// Keys "0", "1", … demoted one after another, with values that do not compress.
    private func bench(
        _ sizes: [Int], _ change: (inout StoreOptions) -> Void = { _ in }
    ) throws -> StoreBench {
        let bench = try StoreBench(change)
        for (i, size) in sizes.enumerated() {
            bench.set("\(i)", StoreBench.noise(size, seed: UInt64(i)))
        }
        bench.demote(sizes.indices.map { "\($0)" })
        for i in sizes.indices { try #require(bench.residency("\(i)") == .demoted) }
        return bench
    }

    private func isEmpty(_ bench: StoreBench) -> Bool {
        bench.worker.staging.count == 0
            && bench.worker.staging.waiting.isEmpty && bench.worker.stagingBytes == 0
            && bench.worker.staging.largeReads == 0 && bench.worker.requestsInFlight == 0
    }

    private func runnable(_ bench: StoreBench) -> [UInt32] {
        var list: [UInt32] = []
        bench.worker.takeRunnable(into: &list)
        return list
    }

    @Test(arguments: [30, 1000, 4000, 4096, 8192, 8193, 50_000])
    func aDemotedValueComesBackAsItWas(_ size: Int) throws {
        let bench = try bench([size])
        let used = bench.store.ledger.used
        #expect(try bench.get("0") == StoreBench.noise(size, seed: 0))
        #expect(bench.residency("0") == .residentClean)
        #expect(isEmpty(bench))
        #expect(bench.store.ledger.used <= used + size + (8 << 10))
    }

    @Test func keysInOneBlockShareARead() throws {
        let bench = try bench([500, 500, 500, 500])
        let records = (0..<4).compactMap { bench.stage("\($0)", token: UInt32($0)) }
        #expect(records.count == 4)
        bench.settle()
        #expect(bench.reads == 1)
        #expect(runnable(bench).sorted() == [0, 1, 2, 3])
        for i in 0..<4 { #expect(try bench.value("\(i)") == StoreBench.noise(500, seed: UInt64(i))) }
        for record in records { bench.worker.unstage(record) }
        #expect(isEmpty(bench))
    }

    @Test func sessionsThatWantOneRecordShareIt() throws {
        let bench = try bench([3000])
        for token in [5, 6, 6, 7] as [UInt32] { _ = bench.stage("0", token: token) }
        bench.settle()
        #expect(bench.reads == 1)
        #expect(runnable(bench) == [5, 6, 7])
        #expect(bench.worker.stagingBytes == 3000)
        let record = try #require(bench.stage("0", token: 8))
        #expect(bench.reads == 1)
        for left in (0..<5).reversed() {
            bench.worker.unstage(record)
            #expect(isEmpty(bench) == (left == 0))
        }
    }

    @Test func readsBeyondTheBuffersWaitTheirTurn() throws {
        let bench = try bench(Array(repeating: 3000, count: 12)) { $0.readBuffers = 3 }
        let records = (0..<12).compactMap { bench.stage("\($0)", token: UInt32($0)) }
        bench.collect()
        var order: [UInt32] = []
        while !bench.pending.isEmpty {
            #expect(bench.pending.count <= 3)
            bench.answerOne()
            order += runnable(bench)
        }
        #expect(order == Array(0..<12))
        for record in records { bench.worker.unstage(record) }
        #expect(isEmpty(bench))
    }

    @Test func largeReadsAreFewAtATimeAndTheirRAMIsGivenBack() throws {
        let bench = try bench(Array(repeating: 20_000, count: 8))
        let used = bench.store.ledger.used
        let records = (0..<8).compactMap { bench.stage("\($0)") }
        bench.collect()
        #expect(bench.pending.count == 4)
        #expect(bench.store.ledger.used > used)
        bench.settle()
        #expect(bench.store.ledger.used == used)
        #expect(bench.worker.stagingBytes == 8 * 20_000)
        for record in records { bench.worker.unstage(record) }
        #expect(isEmpty(bench))
    }

    @Test func aSessionThatIsGoneLeavesNothingBehind() throws {
        let bench = try bench([500, 20_000])
        for key in ["0", "1"] { bench.worker.unstage(try #require(bench.stage(key))) }
        bench.settle()
        #expect(isEmpty(bench))
        #expect(bench.residency("0") == .demoted)
        #expect(try bench.get("0") == StoreBench.noise(500, seed: 0))
    }
}

extension StagingTests {
    /// Method: flips one bit of what a read brings, each in turn.
    @Test(arguments: [600, 5000]) func aFlippedBitIsAnErrorNeverAWrongValue(_ size: Int) throws {
        let bench = try bench([size])
        bench.keys.promotes = false
        let value = StoreBench.noise(size, seed: 0)
        var refused = 0
        for bit in stride(from: 0, to: (size + 100) * 8, by: 13) {
            bench.damage = { memory, count in
                guard bit >> 3 < count else { return }
                let old = memory.load(fromByteOffset: bit >> 3, as: UInt8.self)
                memory.storeBytes(of: old ^ 1 << UInt8(bit & 7), toByteOffset: bit >> 3, as: UInt8.self)
            }
            do { #expect(try bench.get("0") == value) } catch {
                #expect(error as? CommandError == .unreadable)
                refused += 1
            }
        }
        #expect(refused > size * 8 / 13)
        #expect(bench.worker.counters.checksumErrors == refused)
        bench.damage = { _, _ in }
        #expect(try bench.get("0") == value)
        #expect(isEmpty(bench))
    }

    @Test func aReadThatFailsIsAnErrorUntilItSucceeds() throws {
        let bench = try bench([500, 20_000])
        // The read buffer then holds the record already.
        bench.keys.promotes = false
        #expect(try bench.get("0") == StoreBench.noise(500, seed: 0))
        for result in [-Int(EIO), 0, 512] {
            bench.failures = [.read: result]
            for key in ["0", "1"] {
                #expect(throws: CommandError.unreadable) { try bench.get(key) }
                #expect(bench.residency(key) == .demoted)
            }
        }
        #expect(bench.worker.counters.readErrors == 6)
        bench.failures = [:]
        #expect(try bench.get("1") == StoreBench.noise(20_000, seed: 1))
        #expect(isEmpty(bench))
    }

    @Test func aValueSetWhileItIsReadIsTheNewOne() throws {
        let bench = try bench([500])
        let record = try #require(bench.stage("0"))
        bench.set("0", Array("new".utf8))
        bench.settle()
        #expect(try bench.value("0") == Array("new".utf8))
        bench.worker.unstage(record)
        #expect(isEmpty(bench))
    }

    @Test func aKeyDeletedWhileItIsReadIsAbsent() throws {
        let bench = try bench([500])
        let record = try #require(bench.stage("0"))
        #expect(bench.delete("0"))
        bench.settle()
        #expect(try bench.value("0") == nil)
        bench.worker.unstage(record)
        #expect(isEmpty(bench))
        #expect(bench.store.log.liveBytes == 0)
    }

    @Test func whatWasReadBeforeANewDemotionIsNotUsedForIt() throws {
        let bench = try bench([500])
        let old = try #require(bench.stage("0"))
        bench.settle()
        bench.set("0", StoreBench.noise(500, seed: 99))
        bench.demote("0")
        #expect(throws: CommandError.notStaged) { try bench.value("0") }
        #expect(try bench.get("0") == StoreBench.noise(500, seed: 99))
        bench.worker.unstage(old)
        #expect(isEmpty(bench))
    }
}

extension StagingTests {
    /// Method: many more records than the table begins with, wanted and let go in a random order.
    @Test func theTableFindsWhatItHoldsWhileItGrows() {
        let table = StagingTable()
        var random = Random(seed: 1), held: [UInt32: Address] = [:]
        for step in 1...20_000 {
            let address = Address(
                segment: Int(random.below(3)), version: 1, offset: 64 * step, byteCount: 64)
            held[table.insert(address, hash: 0)] = address
            if held.count > 500 || random.below(3) == 0 {
                let index = held.keys.randomElement(using: &random)!
                held[index] = nil
                table.remove(index)
            }
        }
        #expect(table.count == held.count)
        for (index, address) in held { #expect(table.find(address) == index) }
        #expect(table.find(Address(segment: 1, version: 2, offset: 64, byteCount: 64)) == nil)
        for index in held.keys { table.remove(index) }
        #expect(table.count == 0)
    }
}
