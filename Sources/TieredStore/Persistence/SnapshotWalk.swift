import CSystem
import Primitives

/// A worker's part in a snapshot.
extension StoreWorker {
    /// Bytes saved in one turn: what another client's request waits for.
    private static var sliceBytes: Int { 48 << 10 }

    /// Begins a snapshot on every worker. The world stands still.
    func begin(_ snapshot: Snapshot) {
        self.snapshot = snapshot
        isSnapshotting = true
    }

    /// Saves a slice more. Returns whether there is more to do at once.
    func saveSlice() -> Bool {
        guard isSnapshotting, let snapshot else { return false }
        if snapshot.isOver {
            self.snapshot = nil
            isSnapshotting = false
            return false
        }
        let part = snapshot.parts[index]
        if index == 0 { snapshot.file.pump(self) }
        part.budget = StoreWorker.sliceBytes
        var hasMore = snapshot.format.advance(self, part)
        saveWanted(snapshot, part)
        // A long value the walk begins and then waits for is something to do.
        if !part.hasWalked { hasMore = walk(snapshot, part) || part.job != nil || hasMore }
        if part.hasWalked, !part.isDrained, snapshot.hasWalked { drain(snapshot, part) }
        if index == 0 { snapshot.close(self) }
        return hasMore
    }

    private func drain(_ snapshot: Snapshot, _ part: SnapshotPart) {
        if snapshot.isAbandoned {
            guard part.reading == 0 else { return }
            part.block = nil
        } else {
            guard snapshot.format.isDrained(part) else { return }
            if let block = part.block, block.fill > 0 { snapshot.format.close(block, part) }
            part.block = nil
        }
        part.isDrained = true
        snapshot.drained()
    }

    /// Walks on. False when there is nothing to be done until something has been written or read.
    private func walk(_ snapshot: Snapshot, _ part: SnapshotPart) -> Bool {
        while part.budget > 0 {
            guard part.stripe < store.options.stripes else {
                part.hasWalked = true
                snapshot.walkEnded()
                return true
            }
            stripes.lock(part.stripe)
            let isDone = walkTables(snapshot, part)
            stripes.unlock(part.stripe)
            guard let isDone else { return false }
            if isDone {
                part.stripe += part.step
                part.tables = 0
                part.tag = 0
            }
        }
        return true
    }

    /// Walks the part's stripe, which is held. True at its end, nil when something has no room.
    private func walkTables(_ snapshot: Snapshot, _ part: SnapshotPart) -> Bool? {
        // Asked for once: each key would count a reference to it, which all workers would write to.
        let format = snapshot.format, isAbandoned = snapshot.isAbandoned
        while part.tables < store.options.databases {
            let table = stripes.tables(part.stripe) + part.tables
            if table.pointee.count > 0 {
                let buckets = Int(table.pointee.buckets)
                var bucket = table.pointee.home(part.tag)
                while bucket < buckets {
                    prefetchEntries(table, bucket + 4)
                    if part.budget <= 0 { return false }
                    guard save(bucket, table, format, part, isAbandoned) else { return nil }
                    bucket += 1
                    part.tag = bucket < buckets ? table.pointee.firstTag(of: bucket) : 1 << 23
                    snapshot[part.stripe] = Snapshot.place(part.tables, part.tag)
                }
            }
            part.tables += 1
            part.tag = 0
            snapshot[part.stripe] = Snapshot.place(part.tables, 0)
            part.budget -= 64
        }
        snapshot[part.stripe] = .max
        return true
    }

    /// Brings the entries of a bucket the walk will come to into the cache.
    @inline(__always)
    private func prefetchEntries(_ table: UnsafeMutablePointer<Table>, _ bucket: Int) {
        guard let slots = table.pointee.slots, bucket < Int(table.pointee.buckets) else { return }
        for i in 0..<8 { csystem_prefetch(base + Int(slots[bucket * 8 + i] & Table.offsetMask)) }
    }

    /// Saves the keys of a bucket that are not yet saved. False when one has no room; those before it stay
    /// marked until the bucket has been passed. `isAbandoned`: nothing is saved any more.
    private func save(
        _ bucket: Int, _ table: UnsafeMutablePointer<Table>, _ format: any SnapshotFormat,
        _ part: SnapshotPart, _ isAbandoned: Bool
    ) -> Bool {
        var isWhole = true
        table.pointee.forEach(home: bucket) { slot in
            guard isWhole, (slot & Table.tagMask) >> Table.tagShift >= part.tag else { return }
            let entry = Entry(base + Int(slot & Table.offsetMask))
            part.budget -= 32
            if entry.has(Entry.saved) { return }
            if !isAbandoned, !isOver(entry) {
                isWhole = format.save(entry, part.tables, self, part, urgently: false)
            }
            if isWhole { entry.set(Entry.saved, true) }
        }
        guard isWhole else { return false }
        table.pointee.forEach(home: bucket) { slot in
            guard (slot & Table.tagMask) >> Table.tagShift >= part.tag else { return }
            Entry(base + Int(slot & Table.offsetMask)).set(Entry.saved, false)
        }
        return true
    }

    private func save(
        _ entry: Entry, _ tables: Int, _ snapshot: Snapshot, _ part: SnapshotPart, urgently: Bool
    ) -> Bool {
        if snapshot.isAbandoned || isOver(entry) { return true }
        return snapshot.format.save(entry, tables, self, part, urgently: urgently)
    }

    /// Its time is over: no part of the picture.
    private func isOver(_ entry: Entry) -> Bool { entry.expiry.map { $0 <= now } ?? false }

    // MARK: Changes meanwhile

    /// A key is about to be changed or deleted: it is saved as it was, if that has not been done. The caller
    /// holds its stripe.
    @inline(never)
    func preserve(_ entry: Entry, _ hash: UInt64, _ tables: Int) {
        guard let snapshot else { return }
        if entry.has(Entry.saving) { finishJob(entry, snapshot) }
        guard !entry.has(Entry.saved), isAhead(hash, tables) else { return }
        entry.set(Entry.saved, true)
        _ = save(entry, tables, snapshot, snapshot.parts[index], urgently: true)
    }

    /// The same, of the key in a slot of a table.
    func preserve(_ slot: UnsafeMutablePointer<UInt64>, _ table: UnsafeMutablePointer<Table>) {
        let entry = entry(slot), hash = hash(entry.key)
        preserve(entry, hash, table - stripes.tables(stripes.number(of: hash)))
    }

    /// Whether the walk has not yet come to a key of this hash.
    func isAhead(_ hash: UInt64, _ tables: Int) -> Bool {
        guard let snapshot else { return false }
        return snapshot[stripes.number(of: hash)] <= Snapshot.place(tables, Table.tag(hash))
    }

    /// A new key, or another one's value under it: no part of the picture.
    func markNew(_ entry: Entry, _ hash: UInt64, _ table: UnsafeMutablePointer<Table>) {
        let tables = table - stripes.tables(stripes.number(of: hash))
        if isAhead(hash, tables) { entry.set(Entry.saved, true) }
    }

    /// A long value that is being saved must be saved before it is changed.
    private func finishJob(_ entry: Entry, _ snapshot: Snapshot) {
        snapshot.job(entry.key)?.encodeAll(entry)
        entry.set(Entry.saving, false)
    }

    // MARK: Who waits

    /// Whether changing a key would now take long, since it is long and has to be saved first: then that is
    /// done soon, and the caller waits a turn. The caller holds the stripe.
    func mustWaitForSnapshot(_ entry: Entry, _ hash: UInt64, _ tables: Int) -> Bool {
        guard let snapshot, !snapshot.isAbandoned else { return false }
        if entry.has(Entry.saving) { return true }
        guard !entry.has(Entry.saved), entry.isResident, isAhead(hash, tables) else { return false }
        guard entry.address.isNone || entry.has(Entry.writing) else { return false }
        guard entry.encodedCount > LongValue.threshold else { return false }
        let part = snapshot.parts[index], key = entry.key
        let isKnown = part.wanted.contains { $0.hash == hash && $0.key.withView { $0 == key } }
        if !isKnown { part.wanted.append((key.array, hash, tables)) }
        return true
    }

    /// More is to be written than the walk makes: writers wait.
    public var snapshotIsCongested: Bool { isSnapshotting && snapshot!.file.isCongested }

    private func saveWanted(_ snapshot: Snapshot, _ part: SnapshotPart) {
        while part.job == nil, let wanted = part.wanted.popLast() {
            let stripe = stripes.number(of: wanted.hash)
            stripes.lock(stripe)
            defer { stripes.unlock(stripe) }
            let table = stripes.tables(stripe) + wanted.tables
            guard let slot = wanted.key.withView({ table.pointee.find(wanted.hash, $0, base: base) })
            else { continue }
            let entry = entry(slot)
            guard !entry.has(Entry.saved), isAhead(wanted.hash, wanted.tables) else { continue }
            if save(entry, wanted.tables, snapshot, part, urgently: false) { entry.set(Entry.saved, true) }
        }
    }
}
