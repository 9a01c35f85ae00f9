import Glibc
import Primitives
import Synchronization

/// A picture of the whole keyspace at one moment, taken while it is changed.
///
/// Begun while the world stands still. Each worker then walks every so-many-th stripe in the order of its
/// keys' hashes, a slice a turn, and saves what it meets. Who is about to change or delete a key the walks
/// have not come to saves it first and marks its entry `saved` (`StoreWorker.preserve`); new keys are
/// marked as they come. A walk takes the mark off and passes over. So the picture is that of the beginning,
/// and what it costs is one copy of what is changed meanwhile, on its way to the disk. Source: the idea of
/// versions a bucket is Dragonfly's; here the order of the walk is the version.
public final class Snapshot: @unchecked Sendable {
    /// What becomes of the keys.
    let format: any SnapshotFormat
    let file: SnapshotFile
    let parts: [SnapshotPart]
    /// For each set of tables the number of the database it was when the picture was taken.
    let databases: [Int]
    private let places: UnsafeMutablePointer<UInt64>
    private let walking: Atomic<Int>
    private let draining: Atomic<Int>
    private let failed = Atomic<Bool>(false)
    private let over = Atomic<Bool>(false)
    private let ended: (Int) -> Void
    private enum Phase { case saving, syncingTier, writingFoot, syncing }
    private var phase = Phase.saving
    /// Long resident values being encoded, by worker.
    private var jobs: [LongValue?]
    private let lock = SpinLock()

    init(
        _ format: any SnapshotFormat, _ file: SnapshotFile, _ store: Store, ended: @escaping (Int) -> Void
    ) {
        self.format = format
        self.file = file
        self.ended = ended
        let stripes = store.options.stripes
        parts = store.workers.map { SnapshotPart(worker: $0.index, step: store.options.workers) }
        databases = (0..<store.options.databases).map {
            store.stripes.logicalDatabase(of: $0, databases: store.options.databases)
        }
        places = .allocate(capacity: stripes)
        places.initialize(repeating: 0, count: stripes)
        jobs = Array(repeating: nil, count: parts.count)
        walking = Atomic(parts.count)
        draining = Atomic(parts.count)
    }

    deinit { places.deallocate() }

    // MARK: Where the walks are

    /// A key's place on its stripe's walk: set of tables, then hash order.
    @inline(__always)
    static func place(_ tables: Int, _ tag: UInt64) -> UInt64 { UInt64(tables) << 23 | tag }

    /// Place the walk of a stripe comes to next. The caller holds the stripe.
    @inline(__always)
    subscript(stripe: Int) -> UInt64 {
        get { places[stripe] }
        set { places[stripe] = newValue }
    }

    // MARK: Long values

    func setJob(_ job: LongValue?, worker: Int) {
        lock.lock()
        jobs[worker] = job
        lock.unlock()
    }

    /// The job that saves this key.
    func job(_ key: ByteView) -> LongValue? {
        lock.lock()
        defer { lock.unlock() }
        return jobs.lazy.compactMap { $0 }.first { $0.key.withView { $0 == key } }
    }

    // MARK: Its end

    /// Nothing is written any more: an error, or nobody wants it. The walks go on to take their marks off.
    public func abandon() { failed.store(true, ordering: .relaxed) }

    var isAbandoned: Bool { failed.load(ordering: .relaxed) || file.error != 0 }

    func walkEnded() { walking.subtract(1, ordering: .acquiringAndReleasing) }
    var hasWalked: Bool { walking.load(ordering: .acquiring) == 0 }
    func drained() { draining.subtract(1, ordering: .acquiringAndReleasing) }
    public var isOver: Bool { over.load(ordering: .acquiring) }

    /// The first worker looks whether all has been written, and closes the file then.
    func close(_ worker: StoreWorker) {
        guard draining.load(ordering: .acquiring) == 0, file.isIdle, !isOver else { return }
        if isAbandoned { return end(file.error == 0 ? Int(ECANCELED) : file.error) }
        switch phase {
        case .saving where format.refersToTier:
            phase = .syncingTier
            worker.request(.sync, offset: 0, length: 0, memory: nil, .other { [self] result in
                if result < 0 { return end(-result) }
                writeFoot(worker)
            })
        case .saving: writeFoot(worker)
        case .syncingTier: return
        case .writingFoot:
            phase = .syncing
            file.sync(worker) { [self] _ in end(file.error) }
        case .syncing: return
        }
    }

    private func writeFoot(_ worker: StoreWorker) {
        phase = .writingFoot
        format.writeFoot(self)
        file.pump(worker)
    }

    private func end(_ error: Int) {
        over.store(true, ordering: .releasing)
        ended(error)
    }
}

/// How a snapshot keeps what it meets.
protocol SnapshotFormat: AnyObject {
    /// Saves a key, whose stripe is held. False while there is no room for it, but never if it is urgent.
    func save(
        _ entry: Entry, _ tables: Int, _ worker: StoreWorker, _ part: SnapshotPart, urgently: Bool
    ) -> Bool
    /// Carries on with what has been begun: reads, long values. Returns whether there is more to do at once.
    func advance(_ worker: StoreWorker, _ part: SnapshotPart) -> Bool
    /// The part's last block goes to the file.
    func close(_ block: SnapshotFile.Block, _ part: SnapshotPart)
    /// Records it refers to must be durable before its foot is.
    var refersToTier: Bool { get }
    /// Whether all of a part's has been handed to the file.
    func isDrained(_ part: SnapshotPart) -> Bool
    func writeFoot(_ snapshot: Snapshot)
}

/// One worker's share of a snapshot: how far its walk is, and what it has in hand. Its worker's alone.
final class SnapshotPart {
    let worker: Int
    let step: Int
    var stripe: Int
    var tables = 0
    var tag: UInt64 = 0
    var hasWalked = false
    var isDrained = false
    /// Bytes that may still be saved in this turn.
    var budget = 0
    /// Keys saved so far, and those of them saved as an address.
    var keys = 0
    var addresses = 0
    /// Keys by set of tables.
    var keysByTables: [Int: Int] = [:]
    private var counted = (tables: -1, keys: 0)
    /// Being filled.
    var block: SnapshotFile.Block?
    /// The database the block's next key is in, as the file has it; of a checkpoint the set of tables.
    var database = -1
    /// Keys in the block.
    var items = 0
    /// Demoted keys whose values are to be read, oldest first.
    var cold = RingQueue<ColdKey>()
    var reading = 0
    var arrived = RingQueue<ColdKey>()
    /// A long value on its way, a slice a turn.
    var job: LongValue?
    /// Keys that somebody wants to change and that are long: saved before others.
    var wanted: [(key: [UInt8], hash: UInt64, tables: Int)] = []

    init(worker: Int, step: Int) {
        self.worker = worker
        self.step = step
        stripe = worker
    }

    /// One more key of these tables has been saved.
    func count(_ tables: Int) {
        keys += 1
        if counted.tables != tables { endCount(tables) }
        counted.keys += 1
    }

    /// Adds up what was counted; keys of the next tables follow.
    func endCount(_ next: Int = -1) {
        if counted.keys > 0 { keysByTables[counted.tables, default: 0] += counted.keys }
        counted = (next, 0)
    }
}

/// A demoted key of a snapshot; its record's segment is held until it has been read.
final class ColdKey {
    let address: Address
    let key: [UInt8]
    let expiry: Int64?
    let database: Int
    let flags: UInt32
    let hash: UInt64
    var memory: SnapshotFile.Memory?
    var received = 0

    init(_ entry: Entry, hash: UInt64, database: Int) {
        address = entry.address
        key = entry.key.array
        expiry = entry.expiry
        flags = entry.flags
        self.hash = hash
        self.database = database
    }
}
