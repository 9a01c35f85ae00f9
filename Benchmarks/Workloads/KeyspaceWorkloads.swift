import Primitives
import RESPFront
import TieredStore

extension Workload {
    static let indexWorkloads = [
        lookup("lookup-dependent", keys: 8192, inBatches: false),
        lookup("lookup-batch", keys: 8192, inBatches: true),
    ]

    /// Keys looked up in an order of chance. Each waits for the one before, or 16 are brought into the cache
    /// together, as the dispatcher does.
    public static func lookup(_ name: String, keys: Int, inBatches: Bool) -> Workload {
        let kind = inBatches ? "16 at a time, prefetched" : "each known only after the one before"
        return Workload(name, "a look-up among \(keys) keys, \(kind)", count: 16_000) {
            let index = Index(keys: keys)
            return inBatches ? index.findBatches : index.findOneAfterAnother
        }
    }

    static let stringWorkloads = [
        Workload("get", "GET of 100 bytes in RAM", count: 4000) {
            strings(2048) { request("GET", Data.key($0)) }
        },
        Workload("set", "SET of 100 bytes over a value in RAM", count: 4000) {
            strings(2048) { request("SET", Data.key($0), Data.text(100)) }
        },
        Workload("incr", "INCR", count: 4000) {
            let bench = Workbench(), tape = Tape((0..<1024).map { request("INCR", Data.key($0)) })
            return { bench.run(tape, $0) }
        },
        Workload("set-recorded", "SET of 100 bytes, recorded in the append-only file", count: 4000) {
            strings(2048, isRecorded: true) { request("SET", Data.key($0), Data.text(100)) }
        },
    ]

    /// Requests to keys that are there, in an order of chance.
    private static func strings(
        _ keys: Int, isRecorded: Bool = false, _ make: (Int) -> Request
    ) -> Body {
        let bench = Workbench()
        if isRecorded { bench.record() }
        bench.run((0..<keys).map { request("SET", Data.key($0), Data.text(100)) })
        let tape = Tape(Data.shuffled(keys).map(make))
        return { bench.run(tape, $0) }
    }
}

/// The keys of an index, and their hashes.
private final class Index {
    private let bench: Workbench
    private let count: Int
    private let keys: UnsafeMutablePointer<(UInt64, UInt64)>
    private let hashes: [UInt64]
    private let order: [Int]
    private var at = 0

    init(keys count: Int) {
        self.count = count
        bench = Workbench(memory: 64 << 20 + count * 128) { $0.stripes = 1024 }
        keys = .allocate(capacity: count)
        let worker = bench.worker
        var random = Random(seed: 3), hashes: [UInt64] = []
        let staged = StagedKeys(worker)
        for i in 0..<count {
            keys[i] = (random.next(), random.next())
            let key = ByteView(keys + i, 16), hash = worker.hash(key)
            hashes.append(hash)
            staged.add(key, hash: hash, database: 0)
            staged.setString(0, ByteView("value"))
            staged.end()
        }
        self.hashes = hashes
        order = Data.shuffled(count)
    }

    deinit { keys.deallocate() }

    func findOneAfterAnother(_ n: Int) {
        let worker = bench.worker
        for _ in 0..<n {
            let key = order[at]
            let isThere = worker.exists(ByteView(keys + key, 16), hash: hashes[key], database: 0)
            at += isThere ? 1 : 2
            if at >= count { at = 0 }
        }
        precondition(worker.counters.keyspaceMisses == 0, "a key was not there")
    }

    func findBatches(_ n: Int) {
        let worker = bench.worker
        var found = 0
        for _ in 0..<(n / Workbench.depth) {
            let first = at
            at = at + 2 * Workbench.depth > count ? 0 : at + Workbench.depth
            let batch = order[first..<(first + Workbench.depth)]
            for key in batch { worker.prefetchBucket(hashes[key], database: 0) }
            for key in batch { _ = worker.prefetchEntry(hashes[key], database: 0) }
            for key in batch {
                if worker.exists(ByteView(keys + key, 16), hash: hashes[key], database: 0) { found += 1 }
            }
        }
        precondition(found == n, "a key was not there")
    }
}
