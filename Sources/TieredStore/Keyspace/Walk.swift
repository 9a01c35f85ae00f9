import Primitives

/// Walks over a database: SCAN, KEYS, RANDOMKEY, flushing.
extension StoreWorker {
    /// Visits at least `count` keys' worth of buckets after `cursor` (0: from the start) and
    /// returns the cursor to go on with, 0 at the end.
    ///
    /// Shape of a cursor: | stripe | tag 23 |, the place in hash order that comes next.
    /// Every key that is there from the first to the last call is visited at least once, however
    /// the tables grow or shrink meanwhile (Redis 7.0 SCAN): a key's place follows from its hash.
    public func scan(
        database: Int, cursor: UInt64, count: Int,
        _ visit: (ByteView, ValueType) -> Void
    ) -> UInt64 {
        var stripe = Int(truncatingIfNeeded: cursor >> 23)
        var tag = cursor & 0x7f_ffff
        var left = count, emptyStripes = 0
        while stripe < store.options.stripes {
            stripes.lock(stripe)
            let table = stripes.table(stripe, database)
            var next: UInt64?
            if table.pointee.count > 0 {
                next = scanStripe(table, from: tag, &left, visit)
            } else {
                emptyStripes += 1
            }
            stripes.unlock(stripe)
            if let next { return UInt64(stripe) << 23 | next }
            stripe += 1
            tag = 0
            if left <= 0 || emptyStripes > 4096 { break }
        }
        return stripe < store.options.stripes ? UInt64(stripe) << 23 : 0
    }

    /// Visits buckets from the one `tag` belongs to; the tag to go on with, nil at the table's end.
    private func scanStripe(
        _ table: UnsafeMutablePointer<Table>, from tag: UInt64, _ left: inout Int,
        _ visit: (ByteView, ValueType) -> Void
    ) -> UInt64? {
        let buckets = Int(table.pointee.buckets)
        var bucket = table.pointee.home(tag)
        while bucket < buckets {
            table.pointee.forEach(home: bucket) { slot in
                guard (slot & Table.tagMask) >> Table.tagShift >= tag else { return }
                let entry = Entry(base + Int(slot & Table.offsetMask))
                if let expiry = entry.expiry, expiry <= now { return }
                left -= 1
                visit(entry.key, entry.type)
            }
            bucket += 1
            if left <= 0 { return bucket < buckets ? table.pointee.firstTag(of: bucket) : nil }
        }
        return nil
    }

    /// Every key of a database. The world is stopped.
    public func forEachKey(database: Int, _ visit: (ByteView, ValueType) -> Void) {
        var left = Int.max
        for stripe in 0..<store.options.stripes {
            let table = stripes.table(stripe, database)
            if table.pointee.count > 0 { _ = scanStripe(table, from: 0, &left, visit) }
        }
    }

    /// A key at random, nil when the database is empty. The world is stopped.
    public func randomKey(database: Int) -> [UInt8]? {
        for _ in 0..<100 {
            let total = store.keyCount(database: database)
            guard total > 0 else { return nil }
            var at = Int(random.next() % UInt64(total))
            for stripe in 0..<store.options.stripes {
                let table = stripes.table(stripe, database)
                if at >= Int(table.pointee.count) {
                    at -= Int(table.pointee.count)
                    continue
                }
                if let key = randomKey(in: table) { return key }
                break
            }
        }
        return nil
    }

    private func randomKey(in table: UnsafeMutablePointer<Table>) -> [UInt8]? {
        guard let slots = table.pointee.slots else { return nil }
        let size = Int(table.pointee.buckets) * 8
        var at = Int(random.next() % UInt64(size))
        for _ in 0..<size {
            if slots[at] & Table.offsetMask != 0 {
                let entry = self.entry(slots + at)
                if let expiry = entry.expiry, expiry <= now {
                    expire(slots + at, table)
                    return nil
                }
                return entry.key.array
            }
            at = at + 1 == size ? 0 : at + 1
        }
        return nil
    }

    /// Deletes every key of a database; returns how many. The world is stopped.
    public func flush(database: Int) -> Int {
        var deleted = 0
        for stripe in 0..<store.options.stripes {
            let table = stripes.table(stripe, database)
            guard let slots = table.pointee.slots else { continue }
            for i in 0..<Int(table.pointee.buckets) * 8 where slots[i] & Table.offsetMask != 0 {
                dispose(entry(slots + i))
                deleted += 1
            }
            table.pointee.destroy(extents)
        }
        structure &+= 1
        return deleted
    }
}
