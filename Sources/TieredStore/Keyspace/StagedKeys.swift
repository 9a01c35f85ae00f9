import Glibc
import Primitives
import Synchronization

/// The keys of one running command: the only door from handlers to values.
///
/// The dispatcher adds the keys, locks their stripes and makes sure that values the command needs
/// are in RAM or staged; then it calls the handler. Everything lent (keys, values) lives until
/// `end()`. Records which keys were changed; publishing that is the dispatcher's.
public final class StagedKeys {
    struct Key {
        var view: ByteView
        var hash: UInt64
        var database: Int
        var stripe: Int
        var slot: UnsafeMutablePointer<UInt64>?
        /// `worker.structure` when the slot was looked up; another value means look again.
        var seen: UInt32
        var isLooked: Bool
        var isChanged: Bool
    }

    let worker: StoreWorker
    /// Keys of all windows, and of the open one: a transaction's or script's commands each have a
    /// window of their own, in which their keys are 0..<count.
    private var all: UnsafeMutablePointer<Key>
    var keys: UnsafeMutablePointer<Key>
    private var windowStart = 0
    public private(set) var count = 0
    private var capacity = 64
    private var lockedStripes: [Int] = []
    private var lockedOne = -1
    /// Changes made since start: written by its own loop, looked at by the first for the `save` points.
    public var changes: UInt64 {
        get { changesWord.load(ordering: .relaxed) }
        set { changesWord.store(newValue, ordering: .relaxed) }
    }
    private let changesWord = Atomic<UInt64>(0)
    /// A read by this command makes values hotter and may promote them (CLIENT NO-TOUCH, DUMP: no).
    public var touches = true
    /// Values read by this command may stay in RAM.
    var promotes = true

    public init(_ worker: StoreWorker) {
        self.worker = worker
        all = .allocate(capacity: 64)
        keys = all
    }

    deinit { all.deallocate() }

    // MARK: For the dispatcher

    /// Adds a key of a logical database.
    @inline(__always)
    public func add(_ key: ByteView, hash: UInt64, database: Int) {
        if windowStart + count == capacity { grow() }
        (keys + count).initialize(to: Key(
            view: key, hash: hash, database: database, stripe: worker.stripes.number(of: hash),
            slot: nil, seen: 0, isLooked: false, isChanged: false))
        count += 1
    }

    private func grow() {
        let larger = UnsafeMutablePointer<Key>.allocate(capacity: capacity * 2)
        larger.moveInitialize(from: all, count: windowStart + count)
        all.deallocate()
        all = larger
        keys = all + windowStart
        capacity *= 2
    }

    /// Locks the stripes of all keys, in ascending order.
    @inline(__always)
    public func lock() {
        guard worker.threaded, count > 0 else { return }
        if count == 1 {
            lockedOne = keys[0].stripe
            worker.stripes.lock(lockedOne)
            return
        }
        lockMany()
    }

    private func lockMany() {
        lockedStripes.removeAll(keepingCapacity: true)
        for i in 0..<count { lockedStripes.append(keys[i].stripe) }
        lockedStripes.sort()
        var last = -1, distinct = 0
        for stripe in lockedStripes where stripe != last {
            lockedStripes[distinct] = stripe
            distinct += 1
            last = stripe
        }
        lockedStripes.removeLast(lockedStripes.count - distinct)
        for stripe in lockedStripes { worker.stripes.lock(stripe) }
    }

    // MARK: Windows

    /// The keys added next are those of another command, which begin at 0. Locks and what was
    /// recorded of earlier windows stay.
    public func openWindow() {
        windowStart += count
        keys = all + windowStart
        count = 0
    }

    /// Runs `body` in a window of its own and closes it: the window before is open again. What is changed
    /// in it is not recorded.
    public func inWindow(_ body: () -> Void) {
        let (start, before) = (windowStart, count)
        openWindow()
        body()
        windowStart = start
        keys = all + start
        count = before
    }

    /// Forgets all keys and what was recorded of them; their stripes stay locked.
    public func forgetKeys() {
        windowStart = 0
        keys = all
        count = 0
    }

    /// Whether the stripe of `hash` is held.
    public func holds(hash: UInt64) -> Bool {
        if !worker.threaded { return true }
        let stripe = worker.stripes.number(of: hash)
        return lockedOne == stripe || lockedStripes.contains(stripe)
    }

    /// Locks the stripes of the window's keys that are not held yet, without waiting: out of order
    /// a loop must not wait. Returns whether all are held now; what was locked stays so until `end`.
    public func tryLockWindow() -> Bool {
        guard worker.threaded else { return true }
        for i in 0..<count where !holds(hash: keys[i].hash) {
            guard worker.stripes.tryLock(keys[i].stripe) else { return false }
            if lockedOne >= 0 {
                lockedStripes.append(lockedOne)
                lockedOne = -1
            }
            lockedStripes.append(keys[i].stripe)
        }
        return true
    }

    /// Keys of all windows.
    public var totalCount: Int { windowStart + count }

    /// Key `i` of all windows, if it was changed.
    public func changedKey(_ i: Int) -> (key: ByteView, hash: UInt64, database: Int)? {
        precondition(i < totalCount, "key index out of range")
        guard all[i].isChanged else { return nil }
        return (all[i].view, all[i].hash, all[i].database)
    }

    /// Unlocks and forgets the keys.
    @inline(__always)
    public func end() {
        if worker.threaded {
            if lockedOne >= 0 {
                worker.stripes.unlock(lockedOne)
                lockedOne = -1
            } else if !lockedStripes.isEmpty {
                for stripe in lockedStripes.reversed() { worker.stripes.unlock(stripe) }
                lockedStripes.removeAll(keepingCapacity: true)
            }
        }
        forgetKeys()
    }

    /// Whether the value of key `i` can be used now; wants its record if not.
    /// Returns the record when a read was asked for or joined on behalf of `token` (`UInt32.max`: of
    /// nobody); the caller gives it back with `unstage`.
    public enum Readiness { case usable, staged(StagedRecord), reading(StagedRecord) }

    public func stage(_ i: Int, token: UInt32) -> Readiness {
        guard let slot = slot(i), slot.pointee & Table.residentBit == 0 else { return .usable }
        let address = worker.entry(slot).address
        let (record, isReady) = worker.stage(address, hash: keys[i].hash, token: token)
        return isReady ? .staged(record) : .reading(record)
    }

    /// Whether key `i` can be used without a read.
    @inline(__always)
    public func isUsable(_ i: Int) -> Bool {
        guard let slot = slot(i), slot.pointee & Table.residentBit == 0 else { return true }
        guard let index = worker.staging.find(worker.entry(slot).address) else { return false }
        return worker.staging.hasArrived(index)
    }

    public func isChanged(_ i: Int) -> Bool { keys[i].isChanged }
    public func keyHash(_ i: Int) -> UInt64 { keys[i].hash }

    // MARK: Looking

    public func key(_ i: Int) -> ByteView { keys[i].view }
    public func database(_ i: Int) -> Int { keys[i].database }

    @inline(__always)
    func table(_ i: Int) -> UnsafeMutablePointer<Table> {
        worker.stripes.table(keys[i].stripe, keys[i].database)
    }

    @inline(__always)
    func slot(_ i: Int) -> UnsafeMutablePointer<UInt64>? {
        precondition(i < count, "key index out of range")
        let key = keys + i
        if key.pointee.isLooked, key.pointee.seen == worker.structure { return key.pointee.slot }
        let slot = worker.find(key.pointee.hash, key.pointee.view, table(i))
        key.pointee.slot = slot
        key.pointee.seen = worker.structure
        key.pointee.isLooked = true
        return slot
    }

    @inline(__always)
    func entry(_ i: Int) -> Entry? {
        guard let slot = slot(i) else { return nil }
        return worker.entry(slot)
    }

    public func exists(_ i: Int) -> Bool { slot(i) != nil }

    public func type(_ i: Int) -> ValueType? { entry(i)?.type }

    func stagedValue(_ entry: Entry) throws(CommandError) -> ByteView {
        let staging = worker.staging
        guard let index = staging.find(entry.address), staging.hasArrived(index)
        else { throw .notStaged }
        guard staging[index].pointee.state == .ready, let value = staging[index].pointee.value else {
            worker.counters.checksumErrors += 1
            throw .unreadable
        }
        return ByteView(value, staging[index].pointee.valueCount)
    }

    /// Counts a lookup that only asked whether the key is there (EXISTS, TYPE, TTL).
    public func countLookup(_ i: Int) {
        if exists(i) { worker.counters.keyspaceHits += 1 } else { worker.counters.keyspaceMisses += 1 }
    }

    // MARK: Writing

    @inline(__always)
    func changed(_ i: Int) {
        if worker.isSnapshotting { preserve(i) }
        keys[i].isChanged = true
        changes += 1
    }

    /// Key `i` is about to be changed: the running snapshot gets it as it is.
    @inline(never)
    private func preserve(_ i: Int) {
        guard let entry = entry(i) else { return }
        worker.preserve(entry, keys[i].hash, worker.stripes.physicalDatabase(keys[i].database))
    }

    /// Whether changing key `i` now would hold the loop up while a snapshot saves it: it is better tried
    /// again a turn later.
    public func mustWaitForSnapshot(_ i: Int) -> Bool {
        guard worker.isSnapshotting, let entry = entry(i) else { return false }
        return worker.mustWaitForSnapshot(
            entry, keys[i].hash, worker.stripes.physicalDatabase(keys[i].database))
    }

    /// Puts an entry in the place of the key's old one.
    func succeed(_ i: Int, _ slot: UnsafeMutablePointer<UInt64>, _ old: Entry, _ entry: Entry) {
        worker.succeed(old, by: entry)
        worker.replace(slot, with: entry, table(i))
        worker.dispose(old)
        keys[i].seen = worker.structure
    }

    /// Deletes a key; false if it was absent.
    @discardableResult
    public func delete(_ i: Int) -> Bool {
        guard let slot = slot(i) else { return false }
        worker.remove(slot, table(i))
        changed(i)
        return true
    }

    // MARK: Expiry

    /// Unix milliseconds, or nil for a key without one or no key.
    public func expiry(_ i: Int) -> Int64? { entry(i)?.expiry }

    /// Sets or removes the expiry of a key; false if the key is absent. Never reads the value:
    /// a demoted key's record keeps its old expiry, the entry's counts.
    @discardableResult
    public func setExpiry(_ i: Int, _ time: Int64?) -> Bool {
        guard let slot = slot(i) else { return false }
        let entry = worker.entry(slot)
        changed(i)
        if let time, entry.has(Entry.hasExpiry) {
            entry.at.storeBytes(of: time, toByteOffset: 20, as: Int64.self)
            return true
        }
        if time == nil, !entry.has(Entry.hasExpiry) { return true }
        let key = entry.key
        let tail = entry.size - entry.valueOffset
        let prefix = Entry.prefix(keyCount: key.count, expires: time != nil)
        guard let cell = worker.allocate(prefix + tail, stripe: keys[i].stripe) else {
            fatalError("tierd: out of reserved address space")
        }
        let fresh = Entry(cell)
        fresh.initialise(type: entry.type, key: key, expiry: time)
        fresh.flags = entry.flags & ~Entry.hasExpiry | (time == nil ? 0 : Entry.hasExpiry)
        fresh.accessClock = entry.accessClock
        fresh.valueCount = entry.valueCount
        fresh.address = entry.address
        (fresh.at + fresh.valueOffset).copyMemory(from: entry.at + entry.valueOffset, byteCount: tail)
        let size = entry.size
        worker.replace(slot, with: fresh, table(i))
        worker.free(entry.at, size)
        return true
    }

    // MARK: What is known of a key without its value

    public func idleSeconds(_ i: Int) -> Int? {
        entry(i).map { AccessClock.idleSeconds($0, now: worker.accessSeconds) }
    }

    public func accessFrequency(_ i: Int) -> Int? {
        entry(i).map { Int(AccessClock.frequency($0, now: worker.now)) }
    }

    public func setIdleSeconds(_ i: Int, _ seconds: Int) {
        entry(i)?.accessClock = (worker.accessSeconds &- UInt32(truncatingIfNeeded: seconds)) & 0xff_ffff
    }

    /// Marks a key as used (TOUCH).
    public func touch(_ i: Int) { if let entry = entry(i) { worker.touch(entry) } }

    /// The value was changed in place since it was set (OBJECT ENCODING: raw).
    public func isRaw(_ i: Int) -> Bool { entry(i)?.has(Entry.raw) ?? false }

    /// The value is text even if it reads as an integer (INCRBYFLOAT).
    public func isText(_ i: Int) -> Bool { entry(i)?.has(Entry.text) ?? false }
    public func keepAsText(_ i: Int) { entry(i)?.set(Entry.text, true) }

    /// RAM the key takes: cell, index slot and what is outside the cell.
    public func memoryUsage(_ i: Int) -> Int? {
        guard let entry = entry(i) else { return nil }
        let outside = !entry.isResident ? 0
            : entry.isStructured ? entry.structure.held.heldBytes
            : entry.isExternal ? Extents.pages(entry.valueCount) : 0
        return worker.capacity(entry) + 10 + outside
    }

    // MARK: Residency

    public enum Residency: String, Sendable {
        case residentDirty = "resident-dirty"
        case residentClean = "resident-clean"
        case demoted, absent
    }

    public func residency(_ i: Int) -> Residency {
        guard let entry = entry(i) else { return .absent }
        if !entry.isResident { return .demoted }
        return entry.address.isNone || entry.has(Entry.writing) ? .residentDirty : .residentClean
    }

    /// Demotes key `i` now: a clean value at once, a dirty one as soon as its record is written.
    /// `busy`: no buffer or segment is free; try again when a write has ended.
    public enum DemoteOutcome: Sendable { case demoted, started, writing, absent, busy, notTierable }

    public func demote(_ i: Int) -> DemoteOutcome {
        guard let slot = slot(i) else { return .absent }
        let entry = worker.entry(slot)
        if !entry.isResident { return .demoted }
        if !worker.isTierable(entry) { return .notTierable }
        entry.frequency = 0
        if entry.has(Entry.writing) { return .writing }
        if !entry.address.isNone {
            worker.drop(slot, table(i))
            worker.counters.cleanDemotions += 1
            return .demoted
        }
        let tables = worker.stripes.physicalDatabase(keys[i].database)
        return worker.write(slot, table(i), tables) ? .started : .busy
    }

    /// Promotes key `i`, whose value must be staged; false if it is absent or there is no RAM.
    public func promote(_ i: Int) throws(CommandError) -> Bool {
        guard let slot = slot(i) else { return false }
        let entry = worker.entry(slot)
        if entry.isResident { return true }
        if entry.isStructured {
            _ = try promoteStructure(i, slot)
            return true
        }
        let value = try stagedValue(entry)
        return worker.promote(slot, table(i), keys[i].stripe, value)
    }

    /// What reading key `i` brought into RAM leaves it at once if RAM is short: for what reads many values
    /// one after another while no turn ends. Not for a key that something else counts on.
    public func giveBack(_ i: Int) {
        guard worker.isShort, let slot = slot(i), slot.pointee & Table.residentBit != 0 else { return }
        let entry = worker.entry(slot)
        if entry.address.isNone || entry.has(Entry.writing) || entry.has(Entry.saving) { return }
        if worker.drop(slot, table(i)) > 0 { worker.counters.cleanDemotions += 1 }
        while worker.giveBack() {}
    }

    /// Length of key `i`'s value if it is on the SSD alone, else 0.
    public func coldBytes(_ i: Int) -> Int {
        guard let entry = entry(i), !entry.isResident else { return 0 }
        return entry.valueCount
    }

    /// RAM that modifying the keys' demoted values will take.
    public var promotionBytes: Int {
        var bytes = 0
        for i in 0..<count { bytes += coldBytes(i) }
        return bytes
    }
}
