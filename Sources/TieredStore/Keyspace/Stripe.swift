import Primitives

/// One lock's worth of keys, in every database.
struct Stripe: ~Copyable {
    let lock = SpinLock()
    /// One table a database.
    let tables: UnsafeMutablePointer<Table>

    init(databases: Int) {
        tables = .allocate(capacity: databases)
        tables.initialize(repeating: Table(), count: databases)
    }
}
