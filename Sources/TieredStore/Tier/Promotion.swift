import Primitives

/// Values entering RAM, and being used there.
extension StoreWorker {
    /// An access to a resident value.
    @inline(__always)
    func touch(_ entry: Entry) {
        Hotness.accessed(entry, epoch: epoch)
        if store.policy.countsFrequency {
            AccessClock.count(entry, now: now, random: &random)
        } else if entry.accessClock != accessSeconds {
            entry.accessClock = accessSeconds
        }
    }

    /// A write to a resident value, in place.
    @inline(__always)
    func touchWritten(_ entry: Entry) { touch(entry) }

    /// A value enters RAM. `ghost`: the epoch at which it had left, if it was demoted.
    func admit(_ entry: Entry, ghost: UInt8?) {
        Hotness.admitted(entry, epoch: epoch, left: ghost)
        if store.policy.countsFrequency {
            AccessClock.start(entry, now: now)
        } else {
            entry.accessClock = accessSeconds
        }
        admissions += 1
        if admissions >= 16 { keepTime() }
    }

    /// A key's entry is rebuilt for a new value: one that was in RAM keeps its standing.
    func succeed(_ old: Entry, by entry: Entry) {
        guard old.isResident else { return admit(entry, ghost: old.epoch) }
        let standing: UInt32 = 3 << Entry.frequencyShift | Entry.probation
        entry.flags = entry.flags & ~standing | old.flags & standing
        entry.accessClock = old.accessClock
        touchWritten(entry)
    }

    /// Adds this worker's admissions to the policy's clock, and reads it.
    func keepTime() {
        epoch = store.epoch(adding: admissions)
        admissions = 0
    }

    /// Gives a demoted entry its large collection back, clean: it takes no more RAM than it has.
    func promote(
        _ slot: UnsafeMutablePointer<UInt64>, _ table: UnsafeMutablePointer<Table>, _ stripe: Int,
        _ structure: Structure
    ) {
        let stub = entry(slot)
        let prefix = stub.valueOffset
        guard let cell = allocate(prefix + 8, stripe: stripe) else {
            fatalError("tierd: out of reserved address space")
        }
        cell.copyMemory(from: stub.at, byteCount: prefix)
        let entry = Entry(cell)
        entry.flags |= Entry.resident
        entry.own(structure)
        finishPromotion(slot, table, stub, entry)
    }

    private func finishPromotion(
        _ slot: UnsafeMutablePointer<UInt64>, _ table: UnsafeMutablePointer<Table>, _ stub: Entry,
        _ entry: Entry
    ) {
        let size = stub.size, ghost = stub.epoch
        replace(slot, with: entry, table)
        free(stub.at, size)
        residentDelta += 1
        counters.promotions += 1
        admit(entry, ghost: ghost)
    }

    /// Gives a demoted entry its value back, clean. False when there is no RAM for it.
    @discardableResult
    func promote(
        _ slot: UnsafeMutablePointer<UInt64>, _ table: UnsafeMutablePointer<Table>, _ stripe: Int,
        _ value: ByteView, reserve: Int = 0
    ) -> Bool {
        let stub = entry(slot)
        let prefix = stub.valueOffset
        let external = value.count > Entry.externalThreshold || prefix + value.count > slabs.classes.largest
        guard let cell = allocate(
            prefix + (external ? 16 : value.count), stripe: stripe, reserve: reserve)
        else { return false }
        cell.copyMemory(from: stub.at, byteCount: prefix)
        let entry = Entry(cell)
        entry.flags |= Entry.resident
        if external {
            guard let memory = extents.allocate(
                value.count, charging: value.count, reserve: reserve)
            else {
                free(cell, prefix + 16)
                return false
            }
            entry.flags |= Entry.external
            entry.externalMemory = memory
            entry.externalCapacity = value.count
        }
        entry.value.copyMemory(from: value.base, byteCount: value.count)
        finishPromotion(slot, table, stub, entry)
        return true
    }
}
