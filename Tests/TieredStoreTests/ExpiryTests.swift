import Primitives
import Testing

@testable import TieredStore

/// Method: the clock is set by the test; keys with and without an expiry, in RAM and on the disk,
/// are looked at just before and at their time.
@Suite struct ExpiryTests {
    /// Sets a key that lives for `time` milliseconds, nil: for ever.
    private func set(
        _ bench: StoreBench, _ key: String, size: Int = 100, for time: Int64?, database: Int = 0
    ) {
        let expiry: ExpiryChange = time.map { .at(bench.now + $0) } ?? .none
        bench.set(key, StoreBench.noise(size), expiry: expiry, database: database)
    }

    /// Sweeps until the expiry hand has been everywhere.
    private func expireAll(_ worker: StoreWorker) {
        let round = worker.expiryHand.rounds
        while worker.expiryHand.rounds < round + 2 { worker.expire(buckets: 64) }
    }

    @Test(arguments: [100, 9000]) func aKeyLivesToItsLastMillisecond(_ size: Int) throws {
        let bench = try StoreBench()
        set(bench, "short", size: size, for: 1000)
        set(bench, "long", size: size, for: nil)
        bench.advance(milliseconds: 999)
        #expect(bench.exists("short"))
        bench.advance(milliseconds: 1)
        #expect(!bench.exists("short"))
        #expect(try bench.get("short") == nil)
        #expect(bench.exists("long"))
        #expect(bench.worker.counters.expiredKeys == 1)
        #expect(bench.store.keyCount(database: 0) == 1)
    }

    @Test func keysNobodyAsksForAreDeletedToo() throws {
        let bench = try StoreBench()
        let empty = bench.store.residentItems
        for i in 0..<500 { set(bench, "v\(i)", for: 1000 + Int64(i), database: i % 2) }
        for i in 0..<100 { set(bench, "p\(i)", for: nil) }
        #expect(bench.store.volatileCount(database: 0) == 250)
        expireAll(bench.worker)
        #expect(bench.store.keyCount(database: 0) == 350)
        bench.advance(milliseconds: 1249)
        expireAll(bench.worker)
        #expect(bench.store.keyCount(database: 0) + bench.store.keyCount(database: 1) == 350)
        bench.advance(milliseconds: 1000)
        expireAll(bench.worker)
        #expect(bench.store.keyCount(database: 0) == 100)
        #expect(bench.store.keyCount(database: 1) == 0)
        #expect(bench.store.volatileCount(database: 0) == 0)
        #expect(bench.worker.counters.expiredKeys == 500)
        #expect(bench.store.residentItems == empty + 100)
    }

    @Test func withoutActiveExpiryAKeyStaysUntilItIsAskedFor() throws {
        let bench = try StoreBench()
        set(bench, "key", for: 10)
        bench.advance(milliseconds: 10)
        bench.worker.activeExpiry = false
        for _ in 0..<50 { bench.worker.expire(buckets: 64) }
        #expect(bench.store.keyCount(database: 0) == 1)
        #expect(!bench.exists("key"))
        #expect(bench.store.keyCount(database: 0) == 0)
    }

    @Test func aDemotedKeyIsDeletedWithoutARead() throws {
        let bench = try StoreBench()
        for key in ["asked", "swept"] { set(bench, key, size: 600, for: 10_000) }
        bench.demote("asked", "swept")
        #expect(bench.store.log.liveBytes > 1200)
        bench.advance(milliseconds: 10_000)
        #expect(!bench.exists("asked"))
        expireAll(bench.worker)
        bench.collect()
        #expect(bench.reads == 0)
        #expect(bench.store.keyCount(database: 0) == 0)
        #expect(bench.store.log.liveBytes == 0)
    }

    @Test(arguments: [100, 9000]) func theExpiryOfAnEntryCountsNotTheOneOfItsRecord(_ size: Int) throws {
        let bench = try StoreBench()
        set(bench, "key", size: size, for: 10_000)
        bench.demote("key")
        let later = bench.now + 60_000
        #expect(bench.with(["key"]) { $0.setExpiry(0, later) })
        #expect(bench.residency("key") == .demoted)
        bench.advance(milliseconds: 20_000)
        #expect(try bench.get("key") == StoreBench.noise(size))
        #expect(bench.with(["key"]) { $0.expiry(0) } == later)
        bench.demote("key")
        #expect(bench.with(["key"]) { $0.expiry(0) } == later)
        bench.advance(milliseconds: 40_000)
        #expect(!bench.exists("key"))
    }

    /// Method: an expiry given and taken moves the entry to another cell, wherever its value is.
    @Test(arguments: [0, 100, 9000], [false, true])
    func givingAndTakingAnExpiryKeepsTheValue(_ size: Int, _ isDemoted: Bool) throws {
        let bench = try StoreBench()
        let value = StoreBench.noise(size)
        set(bench, "key", size: size, for: nil)
        if isDemoted { bench.demote("key") }
        let residency = bench.residency("key")
        for _ in 0..<3 {
            #expect(bench.with(["key"]) { $0.setExpiry(0, bench.now + 5000) })
            #expect(bench.store.volatileCount(database: 0) == 1)
            #expect(bench.with(["key"]) { $0.setExpiry(0, bench.now + 6000) })
            #expect(bench.with(["key"]) { $0.expiry(0) } == bench.now + 6000)
            #expect(bench.with(["key"]) { $0.setExpiry(0, nil) })
            #expect(bench.store.volatileCount(database: 0) == 0)
            #expect(bench.with(["key"]) { $0.expiry(0) } == nil)
        }
        #expect(bench.residency("key") == residency)
        #expect(try bench.get("key") == value)
        #expect(!bench.with(["none"]) { $0.setExpiry(0, bench.now + 1) })
    }

    @Test func eachWorkerExpiresItsOwnStripesAndTogetherAll() throws {
        let bench = try StoreBench { $0.workers = 3 }
        for i in 0..<300 { set(bench, "v\(i)", for: 10) }
        bench.advance(milliseconds: 10)
        var left = 300
        for worker in bench.store.workers {
            worker.setTime(milliseconds: bench.now, nanoseconds: 1)
            expireAll(worker)
            let now = bench.store.keyCount(database: 0)
            #expect(now < left)
            left = now
        }
        #expect(left == 0)
        #expect(bench.store.counters.expiredKeys == 300)
    }

    @Test func theCountOfVolatileKeysFollowsEveryWrite() throws {
        let bench = try StoreBench()
        var random = Random(seed: 4)
        var volatile: Set<String> = []
        for _ in 0..<3000 {
            let key = "k\(random.below(60))", size = Int(random.below(3)) * 400
            switch random.below(6) {
            case 0, 1:
                set(bench, key, size: size, for: 1 << 40)
                volatile.insert(key)
            case 2:
                set(bench, key, size: size, for: nil)
                volatile.remove(key)
            case 3: bench.set(key, StoreBench.noise(size), expiry: .keep)
            case 4: if bench.delete(key) { volatile.remove(key) }
            default: bench.demote(key)
            }
            try #require(bench.store.volatileCount(database: 0) == volatile.count)
        }
    }
}
