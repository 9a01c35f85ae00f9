import Synchronization

/// RAM the store has taken from the kernel, against what it may take.
///
/// Shared by all workers; touched once per page or extent, never per entry.
public final class Ledger: Sendable {
    private let usedBytes = Atomic<Int>(0)
    private let limitBytes: Atomic<Int>
    private let peakBytes = Atomic<Int>(0)
    private let lentBytes = Atomic<Int>(0)

    init(limit: Int) { limitBytes = Atomic(limit) }

    public var used: Int { usedBytes.load(ordering: .relaxed) }
    public var peak: Int { peakBytes.load(ordering: .relaxed) }

    public var limit: Int {
        get { limitBytes.load(ordering: .relaxed) }
        set { limitBytes.store(newValue, ordering: .relaxed) }
    }

    /// What of `maxmemory` clients' buffers have now, and give back: a request is too large for RAM if it is
    /// so when they have, not because it stands in one itself.
    public var lent: Int {
        get { lentBytes.load(ordering: .relaxed) }
        set { lentBytes.store(newValue, ordering: .relaxed) }
    }

    /// RAM one request may take: half of the limit there is without clients.
    var requestMax: Int { (limit + lent) / 2 }

    /// Takes `bytes`, or refuses: a refusal is the writer's signal to wait for demotion.
    /// `reserve`: how far beyond the limit the caller may go (demotion needs RAM to free RAM).
    func take(_ bytes: Int, reserve: Int = 0) -> Bool {
        let after = usedBytes.add(bytes, ordering: .relaxed).newValue
        if after > limit + reserve {
            usedBytes.subtract(bytes, ordering: .relaxed)
            return false
        }
        peakBytes.max(after, ordering: .relaxed)
        return true
    }

    func give(_ bytes: Int) { usedBytes.subtract(bytes, ordering: .relaxed) }
}
