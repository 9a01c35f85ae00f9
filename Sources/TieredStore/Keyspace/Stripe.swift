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
struct StripeArray {
    private let base: UnsafeMutableRawPointer
    private let stride: Int
    private let count: Int

    init(count: Int, databases: Int) {
        self.count = count
        stride = (Stripe.tableOffset + databases * MemoryLayout<Table>.stride + 63) & ~63
        base = .allocate(byteCount: count * stride, alignment: 64)
        for i in 0..<count {
            self[i].initialize(to: Stripe())
            tables(i).initialize(repeating: Table(), count: databases)
        }
    }

    func deallocate() { base.deallocate() }

    @inline(__always) subscript(_ stripe: Int) -> UnsafeMutablePointer<Stripe> {
        (base + stripe * stride).assumingMemoryBound(to: Stripe.self)
    }

    @inline(__always) func tables(_ stripe: Int) -> UnsafeMutablePointer<Table> {
        (base + stripe * stride + Stripe.tableOffset).assumingMemoryBound(to: Table.self)
    }

    /// Brings a stripe's lock into this core's cache, for taking it.
    @inline(__always) func prefetch(_ stripe: Int) { csystem_prefetch_write(base + stripe * stride) }
}
