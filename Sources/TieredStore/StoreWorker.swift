import CSystem
import Glibc
import Primitives
import Synchronization

/// What happens to a key beside the commands that name it.
public enum KeyChange: Sendable { case expired, evicted, created }

/// One event loop's hands on the store: its slabs, its staged reads, its part of the log and the
/// background work for the stripes assigned to it. Used by one thread only.
///
/// The mover calls `setTime`, runs sessions, then `background`, then carries out `takeRequest()`
/// until it gives nil and answers each with `complete`.
public final class StoreWorker {
    public let store: Store
    public let index: Int
    public var counters = Counters()
    /// Memory of the read and write buffers, for registering with the ring.
    public var bufferMemory: UnsafeRawBufferPointer { buffers.memory }

    let slabs: SlabAllocator
    let buffers: BufferPool
    let staging: StagingTable
    private(set) var stripes: StripeArray
    /// The store's, which outlives its workers: unowned, so that using them counts no references.
    unowned(unsafe) let ledger: Ledger
    unowned(unsafe) let arena: PageArena
    unowned(unsafe) let extents: Extents
    unowned(unsafe) let log: SegmentLog
    let hashing: Hash64
    let base: UnsafeMutableRawPointer
    let demotionStream: LogStream
    var compression = Compression()
    let compactionStream: LogStream
    var hand: SweepHand
    var expiryHand: SweepHand
    var compaction: Compaction
    public var random: Random
    var requests = RingQueue<DiskRequest>()
    var operations: [DiskOperation?] = []
    var freeOperations: [UInt32] = []
    /// Sessions that wait for RAM, oldest first, and sessions that can go on.
    var waiters = RingQueue<(token: UInt32, bytes: Int)>()
    var runnable: [UInt32] = []
    /// Sessions that wait for a write to end.
    var writeWaiters: [UInt32] = []
    /// Unix milliseconds and monotonic nanoseconds of this turn. Atomic words, which cost what others do:
    /// while the log or a checkpoint is read, the thread that has the worker asks the loop's clock.
    @inline(__always) public var now: Int64 { nowWord.load(ordering: .relaxed) }
    @inline(__always) public var instant: UInt64 { instantWord.load(ordering: .relaxed) }
    @inline(__always) var accessSeconds: UInt32 { accessSecondsWord.load(ordering: .relaxed) }
    private let nowWord = Atomic<Int64>(0)
    private let instantWord = Atomic<UInt64>(0)
    private let accessSecondsWord = Atomic<UInt32>(0)
    /// Resident values created less those demoted or deleted by this worker, which alone writes it.
    var residentDelta: Int {
        get { residentDeltaWord.load(ordering: .relaxed) }
        set { residentDeltaWord.store(newValue, ordering: .relaxed) }
    }
    private let residentDeltaWord = Atomic<Int>(0)
    var hotness = Hotness()
    /// The policy's clock as last read, and admissions not yet added to it.
    var epoch: UInt8 = 0
    var admissions = 0
    /// Bumped when entries may have moved: `StagedKeys` finds them again.
    var structure: UInt32 = 0
    /// The background found nothing to demote in its last full sweeps.
    var exhausted = false
    /// Round of the hand in which a value last left RAM.
    var lastYield = 0
    /// The policy found nothing to evict when a writer waited for it.
    var findsNoVictim = false
    public var activeExpiry = true
    /// errno of the last write the disk refused, 0 if none.
    public internal(set) var lastWriteError = 0
    /// Monotonic nanoseconds since when the disk has refused every write, 0 if it has not.
    var refusedSince: UInt64 = 0
    /// Monotonic nanoseconds since when the disk has had no room, 0 if it has.
    var outOfSpaceSince: UInt64 = 0
    /// Large collections whose memory is given back bit by bit.
    var buried: [Structure] = []
    /// The hand passed over a large collection because another one is being written.
    var hasDeferred = false
    /// The large collection being written to the log.
    var serialization: Serialization?
    /// Large collections being read from records that have arrived.
    var restorations: [Restoration] = []
    /// Values brought back after a restart.
    var warmUp: WarmUp?
    /// TIER COMPACT: segments sealed up to this count are compacted once.
    var forcedCompaction: Int?
    /// Whether other loops may be touching stripes: not with one loop, nor while this one runs alone.
    private(set) var threaded: Bool
    /// The snapshot being taken, and whether one is.
    var snapshot: Snapshot?
    public internal(set) var isSnapshotting = false
    /// Told what happens to keys beside commands, under the stripe's lock: kind, key, hash, logical
    /// database. It must not touch the keyspace. Set once, by the front.
    public var onKeyChange: ((KeyChange, ByteView, UInt64, Int) -> Void)?
    /// Whether new keys are told of, too.
    public var reportsNewKeys = false

    private let meanwhile: UnsafeMutablePointer<() -> Void>
    /// Called now and then while the worker waits for a stripe. It must not touch the keyspace. Set once.
    public var onLongWait: () -> Void {
        get { meanwhile.pointee }
        set { meanwhile.pointee = newValue }
    }

    deinit {
        meanwhile.deinitialize(count: 1)
        meanwhile.deallocate()
    }

    init(store: Store, index: Int) {
        self.store = store
        self.index = index
        threaded = store.threaded
        meanwhile = .allocate(capacity: 1)
        meanwhile.initialize(to: {})
        stripes = store.stripes
        stripes.meanwhile = meanwhile
        ledger = store.ledger
        arena = store.arena
        extents = store.extents
        log = store.log
        hashing = store.hash
        slabs = SlabAllocator(
            arena: store.arena, classes: store.classes, worker: index, threaded: store.threaded)
        base = store.arena.base
        buffers = BufferPool(options: store.options)
        staging = StagingTable()
        demotionStream = LogStream(kind: .demotion)
        compactionStream = LogStream(kind: .compaction)
        let first = store.options.stripes / store.options.workers * index
        hand = SweepHand(stripe: first, step: 1)
        expiryHand = SweepHand(stripe: index, step: store.options.workers)
        compaction = Compaction()
        random = Random(seed: store.options.seed &+ UInt64(index))
    }

    func tearDown() {
        operations.removeAll()
        snapshot = nil
        requests = RingQueue()
        // What gives memory back to the store does so while there is one.
        serialization = nil
        restorations.removeAll()
        warmUp = nil
        buried.removeAll()
        staging.releaseStructures()
        demotionStream.batch = nil
        compactionStream.batch = nil
    }

    /// Tells the worker what time it is: Unix milliseconds and monotonic nanoseconds.
    public func setTime(milliseconds: Int64, nanoseconds: UInt64) {
        nowWord.store(milliseconds, ordering: .relaxed)
        instantWord.store(nanoseconds, ordering: .relaxed)
        accessSecondsWord.store(
            UInt32(truncatingIfNeeded: milliseconds / 1000) & 0xff_ffff, ordering: .relaxed)
    }

    @inline(__always) public func hash(_ key: ByteView) -> UInt64 { hashing(key) }

    // MARK: Entries

    /// Finds a key's slot, deleting it when its time is over. The caller holds the stripe.
    @inline(__always)
    func find(
        _ hash: UInt64, _ key: ByteView, _ table: UnsafeMutablePointer<Table>
    ) -> UnsafeMutablePointer<UInt64>? {
        guard let slot = table.pointee.find(hash, key, base: base) else { return nil }
        if slot.pointee & Table.volatileBit != 0, let expiry = entry(slot).expiry, expiry <= now {
            expire(slot, table)
            return nil
        }
        return slot
    }

    @inline(__always)
    func entry(_ slot: UnsafeMutablePointer<UInt64>) -> Entry {
        Entry(base + Int(slot.pointee & Table.offsetMask))
    }

    @inline(__always) func offset(_ entry: Entry) -> UInt64 { UInt64(entry.at - base) }

    /// Commands that were let in may overdraw: `admit` is the gate.
    static let admitted = 1 << 50

    /// A cell for an entry, of the slabs, or an extent for a key no slab cell can hold.
    @inline(__always)
    func allocate(_ size: Int, stripe: Int, reserve: Int = StoreWorker.admitted) -> UnsafeMutableRawPointer? {
        if size <= slabs.classes.largest {
            return slabs.allocate(size, stripe: stripe, reserve: reserve)
        }
        return extents.allocate(size, charging: size, reserve: reserve)
    }

    /// Frees an entry's cell, of `size` bytes.
    @inline(__always)
    func free(_ cell: UnsafeMutableRawPointer, _ size: @autoclosure () -> Int) {
        guard arena.contains(cell) else {
            let size = size()
            return extents.free(cell, bytes: size, charged: size)
        }
        let owner = Int(arena.infos[Int(arena.page(of: cell))].owner)
        if owner == index { slabs.free(cell) } else { store.workers[owner].slabs.free(cell) }
    }

    /// Bytes the cell of an entry has.
    func capacity(_ entry: Entry) -> Int {
        arena.contains(entry.at) ? slabs.capacity(of: entry.at) : Extents.pages(entry.size)
    }

    /// Frees what an entry holds outside its cell, forgets its record, and frees the cell.
    func dispose(_ entry: Entry) {
        forgetRecord(entry)
        if entry.isResident {
            freeExternal(entry)
            residentDelta -= 1
        }
        free(entry.at, entry.size)
    }

    func freeExternal(_ entry: Entry) {
        if entry.isStructured { return bury(entry.disown()) }
        guard entry.isExternal else { return }
        extents.free(
            entry.externalMemory, bytes: entry.externalCapacity, charged: entry.valueCount)
    }

    /// The record on the SSD no longer holds this key's value.
    @inline(__always)
    func forgetRecord(_ entry: Entry) {
        let address = entry.address
        if address.isNone { return }
        log.forget(address)
        entry.address = .none
        entry.set(Entry.writing, false)
    }

    /// Deletes a key. The caller holds the stripe.
    func remove(_ slot: UnsafeMutablePointer<UInt64>, _ table: UnsafeMutablePointer<Table>) {
        if isSnapshotting { preserve(slot, table) }
        let entry = self.entry(slot)
        if slot.pointee & Table.volatileBit != 0 { table.pointee.volatileCount -= 1 }
        dispose(entry)
        table.pointee.remove(slot)
        table.pointee.shrinkIfSparse(extents)
        structure &+= 1
    }

    /// Takes a key out of the index whose value another key has now. `cell`: what its entry takes.
    func freeMoved(
        _ slot: UnsafeMutablePointer<UInt64>, _ table: UnsafeMutablePointer<Table>, _ entry: Entry
    ) {
        if slot.pointee & Table.volatileBit != 0 { table.pointee.volatileCount -= 1 }
        free(entry.at, entry.valueOffset + 8)
        table.pointee.remove(slot)
        table.pointee.shrinkIfSparse(extents)
        structure &+= 1
    }

    /// Deletes a key whose time is over. The caller holds the stripe.
    @inline(never)
    func expire(_ slot: UnsafeMutablePointer<UInt64>, _ table: UnsafeMutablePointer<Table>) {
        report(.expired, entry(slot).key, table)
        remove(slot, table)
        counters.expiredKeys += 1
    }

    /// Tells whoever listens what happened to a key.
    func report(_ change: KeyChange, _ key: ByteView, _ table: UnsafeMutablePointer<Table>) {
        guard let onKeyChange else { return }
        let hash = hash(key)
        let tables = table - stripes.tables(stripes.number(of: hash))
        let database = stripes.logicalDatabase(of: tables, databases: store.options.databases)
        onKeyChange(change, key, hash, database)
    }

    /// The slot's content for an entry.
    @inline(__always)
    func content(_ entry: Entry) -> UInt64 {
        let flags = entry.flags
        return offset(entry) | (flags & Entry.hasExpiry != 0 ? Table.volatileBit : 0)
            | (flags & Entry.resident != 0 ? Table.residentBit : 0)
    }

    /// Points a slot at another entry for the same key and keeps the table's counts right.
    @inline(__always)
    func replace(
        _ slot: UnsafeMutablePointer<UInt64>, with entry: Entry, _ table: UnsafeMutablePointer<Table>
    ) {
        if isSnapshotting, self.entry(slot).has(Entry.saved) { entry.set(Entry.saved, true) }
        let old = slot.pointee, new = content(entry)
        if (old ^ new) & Table.volatileBit != 0 {
            if new & Table.volatileBit != 0 {
                table.pointee.volatileCount += 1
            } else {
                table.pointee.volatileCount -= 1
            }
        }
        slot.pointee = old & (Table.overflowBit | Table.tagMask) | new
        structure &+= 1
    }

    /// Builds an entry with room for a flat or external value of `valueCount` bytes, which the
    /// caller fills. Not yet in a table.
    func build(
        key: ByteView, stripe: Int, type: ValueType, valueCount: Int, capacity: Int, expiry: Int64?
    ) -> Entry {
        let prefix = Entry.prefix(keyCount: key.count, expires: expiry != nil)
        let external = valueCount > Entry.externalThreshold || prefix + valueCount > slabs.classes.largest
        let size = prefix + (external ? 16 : valueCount)
        guard let cell = allocate(size, stripe: stripe)
        else { fatalError("tierd: out of reserved address space") }
        let entry = Entry(cell)
        entry.initialise(type: type, key: key, expiry: expiry)
        entry.valueCount = valueCount
        entry.flags |= Entry.resident
        residentDelta += 1
        if external {
            let room = max(valueCount, capacity)
            guard let memory = extents.allocate(
                room, charging: valueCount, reserve: StoreWorker.admitted)
            else { fatalError("tierd: out of reserved address space") }
            entry.flags |= Entry.external
            entry.externalMemory = memory
            entry.externalCapacity = room
        }
        return entry
    }

    /// Inserts a built entry for a key that is not in the table.
    func insert(
        _ entry: Entry, _ hash: UInt64, _ table: UnsafeMutablePointer<Table>
    ) -> UnsafeMutablePointer<UInt64> {
        if table.pointee.wantsRebuild { table.pointee.rebuildForOne(extents, reserve: StoreWorker.admitted) }
        let content = self.content(entry)
        if content & Table.volatileBit != 0 { table.pointee.volatileCount += 1 }
        if isSnapshotting { markNew(entry, hash, table) }
        if reportsNewKeys { report(.created, entry.key, table) }
        structure &+= 1
        return table.pointee.insert(Table.tag(hash), content)
    }

    // MARK: Stripes

    /// While `body` runs no stripe is locked: every other loop stands still.
    public func runAlone(_ body: () -> Void) {
        let before = threaded
        threaded = false
        stripes.threaded = false
        body()
        threaded = before
        stripes.threaded = before
    }

    /// Runs `body` with the stripe of a key's hash locked, which the caller does not hold. The body
    /// takes no other stripe.
    public func withStripe<R>(of hash: UInt64, _ body: () -> R) -> R {
        withStripe(number: stripes.number(of: hash), body)
    }

    public func withStripe<R>(number stripe: Int, _ body: () -> R) -> R {
        stripes.lock(stripe)
        defer { stripes.unlock(stripe) }
        return body()
    }

    /// Number of the stripe that has the keys of this hash.
    public func stripeNumber(of hash: UInt64) -> Int { stripes.number(of: hash) }

    /// Whether a key is there. The caller holds its stripe.
    public func exists(_ key: ByteView, hash: UInt64, database: Int) -> Bool {
        find(hash, key, stripes.table(stripes.number(of: hash), database)) != nil
    }

    // MARK: Batches

    /// Brings the lock and the table of a key into the cache.
    @inline(__always)
    public func prefetchStripe(_ hash: UInt64) { stripes.prefetch(stripes.number(of: hash)) }

    /// Brings the home bucket of a key into the cache. Takes no lock: another loop may be replacing
    /// the table, but the address is only prefetched, which cannot fault.
    @inline(__always)
    public func prefetchBucket(_ hash: UInt64, database: Int) {
        stripes.table(stripes.number(of: hash), database).pointee.prefetch(hash) { csystem_prefetch($0) }
    }

    /// What the index says of a key before it is looked up: a hint, which may be wrong.
    public enum Prospect { case unknown, cold, resident(UnsafeRawPointer) }

    /// Brings the beginning of a key's entry into the cache.
    @inline(__always)
    public func prefetchEntry(_ hash: UInt64, database: Int) -> Prospect {
        let stripe = stripes.number(of: hash)
        guard stripes.tryLock(stripe) else { return .unknown }
        let slot = stripes.table(stripe, database).pointee.candidate(hash)
        stripes.unlock(stripe)
        guard slot != 0 else { return .unknown }
        let address = base + Int(slot & Table.offsetMask)
        csystem_prefetch(address)
        guard slot & Table.residentBit != 0 else { return .cold }
        csystem_prefetch(address + 64)
        csystem_prefetch(address + 128)
        return .resident(address)
    }

    /// Brings more of an entry into the cache, shortly before it is used: the processor has few
    /// loads under way at a time, so that a batch's values cannot all be asked for at once.
    @inline(__always)
    public func prefetchValue(_ entry: UnsafeRawPointer) {
        for line in 3..<9 { csystem_prefetch(entry + line * 64) }
    }
}
