import CSystem
import Glibc
import Primitives

/// One lock's worth of keys, in every database.
///
/// Shape:  | lock 4, spare 4 | tables, one a database |, at a multiple of the cache line: whoever
///         takes the lock has the first database's table too.
struct Stripe: ~Copyable {
    let lock = SpinLock()

    fileprivate static let tableOffset = 8
}

/// A store's stripes, by number.
///
/// Why a struct of pointers: every worker has a copy, so that finding, locking and unlocking a
/// stripe counts no references. The count of the shared `Store` is one cache line for all cores;
/// touching it for each key took 15 % of two loops' time.
struct StripeArray {
    private let base: UnsafeMutableRawPointer
    private let stride: Int
    private let shift: UInt64
    /// Whether a lock is really taken.
    var threaded: Bool
    /// Logical database number → the set of tables it is kept in; SWAPDB exchanges two.
    /// Changed only while the world is stopped.
    private let databaseMap: UnsafeMutablePointer<Int>
    /// What a worker does while it waits for a stripe; nil in the store's own copy. Behind a pointer, so that
    /// copying the struct counts no references.
    var meanwhile: UnsafeMutablePointer<() -> Void>?

    init(count: Int, databases: Int, threaded: Bool) {
        self.threaded = threaded
        shift = UInt64(64 - count.trailingZeroBitCount)
        stride = (Stripe.tableOffset + databases * MemoryLayout<Table>.stride + 63) & ~63
        base = .allocate(byteCount: count * stride, alignment: 64)
        databaseMap = .allocate(capacity: databases)
        for i in 0..<databases { (databaseMap + i).initialize(to: i) }
        for i in 0..<count {
            self[i].initialize(to: Stripe())
            tables(i).initialize(repeating: Table(), count: databases)
        }
    }

    func deallocate() {
        base.deallocate()
        databaseMap.deallocate()
    }

    /// Number of the stripe that has the keys of this hash.
    @inline(__always) func number(of hash: UInt64) -> Int { Int(truncatingIfNeeded: hash >> shift) }

    @inline(__always) private subscript(_ stripe: Int) -> UnsafeMutablePointer<Stripe> {
        (base + stripe * stride).assumingMemoryBound(to: Stripe.self)
    }

    @inline(__always) func tables(_ stripe: Int) -> UnsafeMutablePointer<Table> {
        (base + stripe * stride + Stripe.tableOffset).assumingMemoryBound(to: Table.self)
    }

    /// The table of a logical database.
    @inline(__always) func table(_ stripe: Int, _ database: Int) -> UnsafeMutablePointer<Table> {
        tables(stripe) + databaseMap[database]
    }

    /// The number of the tables a logical database is kept in: what records carry.
    func physicalDatabase(_ database: Int) -> Int { databaseMap[database] }

    /// The logical database that is kept in a set of tables.
    func logicalDatabase(of tables: Int, databases: Int) -> Int {
        if databaseMap[tables] == tables { return tables }
        return (0..<databases).first { databaseMap[$0] == tables } ?? tables
    }

    /// Puts back what SWAPDB had exchanged. False when it makes no sense; nothing is changed then.
    func restore(_ swaps: [Superblock.Swap], databases: Int) -> Bool {
        var map = Array(0..<databases)
        for swap in swaps {
            guard swap.database < databases, swap.tables < databases else { return false }
            map[swap.database] = swap.tables
        }
        guard Set(map).count == databases else { return false }
        for i in 0..<databases { databaseMap[i] = map[i] }
        return true
    }

    func swapDatabases(_ a: Int, _ b: Int) {
        (databaseMap[a], databaseMap[b]) = (databaseMap[b], databaseMap[a])
    }

    @inline(__always) func lock(_ stripe: Int) {
        if threaded, !self[stripe].pointee.lock.tryLock() { wait(stripe) }
    }

    @inline(never) private func wait(_ stripe: Int) {
        guard let meanwhile else { return self[stripe].pointee.lock.lock() }
        self[stripe].pointee.lock.lock(meanwhile: meanwhile.pointee)
    }

    @inline(__always) func unlock(_ stripe: Int) { if threaded { self[stripe].pointee.lock.unlock() } }
    @inline(__always) func tryLock(_ stripe: Int) -> Bool {
        !threaded || self[stripe].pointee.lock.tryLock()
    }

    /// Brings a stripe's lock into this core's cache, for taking it.
    @inline(__always) func prefetch(_ stripe: Int) { csystem_prefetch_write(base + stripe * stride) }
}
