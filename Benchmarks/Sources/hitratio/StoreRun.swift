import Foundation
import Primitives
import TieredStore
import Workloads

/// One trace through one store.
final class StoreRun {
    private let trace: Trace
    private let store: Store
    private let worker: StoreWorker
    private let keys: StagedKeys
    private let disk: MemoryDisk
    private let value: [UInt8]
    private var name: [UInt8] = []

    /// RAM for `percent` of the trace's keys, and for the index and keys of all.
    init(_ trace: Trace, percent: Int, valueBytes: Int) {
        self.trace = trace
        value = (0..<valueBytes).map { UInt8(truncatingIfNeeded: $0 &* 131) }
        var options = StoreOptions()
        options.databases = 1
        options.stripes = 64
        options.pageSize = 4 << 10
        options.addressSpace = 4 << 30
        options.segmentSize = 1 << 20
        options.tierCapacity = trace.keyCount * 1024 + (64 << 20)
        options.writeBufferSize = 64 << 10
        options.memoryLimit = trace.keyCount * 51 + trace.keyCount * percent / 100 * (valueBytes + 60)
        store = Store(options)!
        worker = store.workers[0]
        keys = StagedKeys(worker)
        disk = MemoryDisk(byteCount: store.log.headerSize + options.tierCapacity)
    }

    deinit { store.tearDown() }

    /// Demotion's price: values looked at for each that left RAM.
    var visitsPerDemotion: Double {
        Double(worker.counters.demotionVisits) / Double(max(1, worker.counters.demotions))
    }

    /// Hit ratios of the store, and of LRU and the optimum with room for as many values at each moment.
    func ratios() -> (store: Double, lru: Double, optimum: Double) {
        var lru = LRU(keys: trace.keyCount)
        var capacities: [Int32] = []
        func both(_ key: Int) -> (store: Bool, lru: Bool) {
            let hit = access(key)
            lru.capacity = store.residentItems
            capacities.append(Int32(store.residentItems))
            return (hit, lru.access(key))
        }
        var random = Random(seed: 7), order = Array(0..<trace.keyCount)
        for i in order.indices.reversed() { order.swapAt(i, Int(random.below(UInt64(i + 1)))) }
        for key in order { _ = both(key) }
        var hits = 0, lruHits = 0
        for (i, key) in trace.accesses.enumerated() {
            let hit = both(Int(key))
            guard i >= trace.countedFrom else { continue }
            if hit.store { hits += 1 }
            if hit.lru { lruHits += 1 }
            residentSum += store.residentItems
        }
        counted = trace.accesses.count - trace.countedFrom
        let optimum = Optimum.hits(
            order.map { Int32($0) } + trace.accesses, keys: trace.keyCount, capacities: capacities,
            countedFrom: order.count + trace.countedFrom)
        return (
            Double(hits) / Double(counted), Double(lruHits) / Double(counted),
            Double(optimum) / Double(counted)
        )
    }

    private var residentSum = 0
    private var counted = 1
    /// Values in RAM on average.
    var meanResident: Int { residentSum / counted }

    private var turns = 0

    private func access(_ number: Int) -> Bool {
        turns += 1
        if turns % 16 == 0 { turn() }
        name = Array("key:\(number)".utf8)
        let hash = name.withView { worker.hash($0) }
        return name.withView { key in
            keys.add(key, hash: hash, database: 0)
            guard keys.exists(0) else {
                keys.end()
                create(key, hash)
                return false
            }
            if keys.isUsable(0), keys.residency(0) != .demoted {
                _ = try? keys.string(0)
                keys.end()
                return true
            }
            let record: StagedRecord
            switch keys.stage(0, token: 0) {
            case .staged(let staged), .reading(let staged): record = staged
            case .usable: fatalError("neither in RAM nor on the disk")
            }
            disk.serve(worker)
            guard (try? keys.string(0)) != nil else { fatalError("unreadable") }
            keys.end()
            worker.unstage(record)
            return false
        }
    }

    private func create(_ key: ByteView, _ hash: UInt64) {
        while true {
            if case .go = worker.admit(key.count + value.count + 64, token: 0) { break }
            turn()
        }
        keys.add(key, hash: hash, database: 0)
        value.withView { keys.setString(0, $0) }
        keys.end()
    }

    private func turn() {
        worker.setTime(
            milliseconds: 1_800_000_000_000 + Int64(turns / 1000), nanoseconds: UInt64(turns) * 1000)
        _ = worker.background()
        disk.serve(worker)
        var runnable: [UInt32] = []
        worker.takeRunnable(into: &runnable)
    }
}
