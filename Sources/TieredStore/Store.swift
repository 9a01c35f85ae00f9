import Primitives
import Synchronization

/// The tiered keyspace: what all workers share.
///
/// What goes in: keys and values through a worker's `StagedKeys`, and completions of disk
/// requests. What comes out: `DiskRequest`s and tokens of sessions that can go on. It does no I/O,
/// reads no clock and owns no thread; whoever moves the requests is the server or the simulator.
///
/// Life of a key: `StagedKeys.setString` puts an entry into a slab and its offset into a slot of
/// its stripe's table. `Demotion` writes its value to the `SegmentLog` when RAM runs short and
/// later replaces the entry by one without the value. `Staging` reads it back when a command
/// needs it, `Promotion` decides whether it stays. `Compaction` moves its record; `delete` and
/// overwriting only decrement the segment's live bytes.
public final class Store: @unchecked Sendable {
    public let options: StoreOptions
    public let ledger: Ledger
    public let hash: Hash64
    public let log: SegmentLog
    let arena: PageArena
    let extents: Extents
    let classes: SizeClasses
    let threaded: Bool
    let stripes: StripeArray
    /// Bytes of values on their way to the SSD whose RAM will be freed when they arrive.
    private let leaving = Atomic<Int>(0)
    var leavingBytes: Int { leaving.load(ordering: .relaxed) }
    func leaves(_ bytes: Int) { leaving.add(bytes, ordering: .relaxed) }
    /// The policy's clock: epochs, and admissions in the running one.
    private let epochs = Atomic<Int>(0)
    private let epochAdmissions = Atomic<Int>(0)
    public private(set) var workers: [StoreWorker] = []
    /// Changed by CONFIG SET while the world is stopped.
    public var policy = EvictionPolicy.noEviction
    public var encodingLimits = EncodingLimits()

    /// Reserves address space and builds one worker for each event loop; nil when the kernel
    /// refuses the addresses.
    public init?(_ options: StoreOptions) {
        self.options = options
        ledger = Ledger(limit: options.memoryLimit)
        hash = Hash64(seed: options.hashSeed)
        threaded = options.workers > 1
        precondition(options.addressSpace <= StoreOptions.addressSpaceMax, "more addresses than a slot has")
        // Slabs first, extents in the rest: a slot can point into either.
        guard let space = AddressSpace(
            byteCount: options.reservedAddresses,
            hugeBytes: options.pageSize == 64 << 10 ? options.addressSpace : 0),
            let arena = PageArena(space, options: options, ledger: ledger)
        else { return nil }
        self.arena = arena
        extents = Extents(space, from: options.addressSpace, ledger: ledger)
        classes = SizeClasses(pageSize: options.pageSize)
        log = SegmentLog(options: options)
        stripes = StripeArray(
            count: options.stripes, databases: options.databases, threaded: threaded)
        workers = (0..<options.workers).map { StoreWorker(store: self, index: $0) }
    }

    /// Lets go of the workers, which hold the store: without this neither is ever freed.
    public func tearDown() {
        for worker in workers { worker.tearDown() }
        for i in 0..<options.stripes {
            for database in 0..<options.databases { stripes.tables(i)[database].destroy(extents) }
        }
        workers = []
    }

    deinit { stripes.deallocate() }

    /// The epoch after `admissions` more values have entered RAM: one passes with each 1/32 of the
    /// values in RAM.
    func epoch(adding admissions: Int) -> UInt8 {
        let length = max(16, residentItems >> 5)
        let sum = epochAdmissions.add(admissions, ordering: .relaxed).newValue
        if sum >= length {
            epochAdmissions.subtract(length, ordering: .relaxed)
            epochs.add(1, ordering: .relaxed)
        }
        return UInt8(truncatingIfNeeded: epochs.load(ordering: .relaxed))
    }

    /// Epochs passed; set before the world begins.
    var epochCount: Int {
        get { epochs.load(ordering: .relaxed) }
        set { epochs.store(newValue, ordering: .relaxed) }
    }

    /// Gives the tables of a set of tables room for so many keys. The world has not begun.
    func reserve(keys: Int, tables: Int) {
        for stripe in 0..<options.stripes {
            (stripes.tables(stripe) + tables).pointee.reserve(keys / options.stripes, extents)
        }
    }

    // MARK: Whole keyspace; the caller has stopped the world

    public func keyCount(database: Int) -> Int {
        (0..<options.stripes).reduce(0) { $0 + Int(stripes.table($1, database).pointee.count) }
    }

    public func volatileCount(database: Int) -> Int {
        (0..<options.stripes).reduce(0) { $0 + Int(stripes.table($1, database).pointee.volatileCount) }
    }

    /// SWAPDB: what was in `a` is in `b`, and the other way round.
    public func swapDatabases(_ a: Int, _ b: Int) {
        stripes.swapDatabases(a, b)
    }

    /// Sum of all workers' counters.
    public var counters: Counters {
        var sum = Counters()
        for worker in workers { sum.add(worker.counters) }
        return sum
    }

    public func resetCounters() { for worker in workers { worker.counters = Counters() } }

    /// Has what was in RAM when the checkpoint was written come back.
    public func beginWarmUp() { for worker in workers { worker.beginWarmUp() } }
    public var isWarmingUp: Bool { workers.contains { $0.warmUp != nil } }

    /// Keys whose value is in RAM, and keys whose value is on the SSD alone.
    public var residentItems: Int { workers.reduce(0) { $0 + $1.residentDelta } }
    public var demotedItems: Int {
        (0..<options.databases).reduce(0) { $0 + keyCount(database: $1) } - residentItems
    }

    /// Bytes in cells that are in use, and in all cells held.
    public var slabUsage: (live: Int, held: Int) {
        workers.reduce((0, 0)) { sum, worker in
            let usage = worker.slabs.usage
            return (sum.0 + usage.live, sum.1 + usage.held)
        }
    }
}

/// What happens to writes when RAM and SSD are both full (Redis 7.0 `maxmemory-policy`).
public enum EvictionPolicy: String, Sendable, CaseIterable {
    case noEviction = "noeviction"
    case allKeysLRU = "allkeys-lru"
    case allKeysLFU = "allkeys-lfu"
    case allKeysRandom = "allkeys-random"
    case volatileLRU = "volatile-lru"
    case volatileLFU = "volatile-lfu"
    case volatileRandom = "volatile-random"
    case volatileTTL = "volatile-ttl"

    public var countsFrequency: Bool { self == .allKeysLFU || self == .volatileLFU }
    var volatileOnly: Bool {
        switch self {
        case .volatileLRU, .volatileLFU, .volatileRandom, .volatileTTL: true
        default: false
        }
    }
}
