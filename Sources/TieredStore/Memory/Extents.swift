import Primitives

/// RAM in 4 KiB units for what is too large for a slab cell: big values and index tables.
///
/// Addresses come in geometric sizes (four steps to a doubling) so that a range freed by one value
/// fits the next; RAM is only used up to what was written, so the rounding costs addresses, no RAM.
final class Extents: @unchecked Sendable {
    private let space: AddressSpace
    private let ledger: Ledger
    private let lock = SpinLock()
    private var next: Int
    private var free: [[Int]] = Array(repeating: [], count: 256)

    /// Uses the range from `first` to the end.
    init(_ space: AddressSpace, from first: Int, ledger: Ledger) {
        self.space = space
        self.ledger = ledger
        next = first
    }

    static func pages(_ bytes: Int) -> Int { (bytes + 4095) & ~4095 }

    /// Class and addresses of a range that can hold `bytes`.
    private static func sizeClass(_ bytes: Int) -> (index: Int, bytes: Int) {
        let pages = max(1, (bytes + 4095) >> 12)
        if pages <= 4 { return (pages - 1, pages << 12) }
        let shift = Int.bitWidth - 1 - (pages - 1).leadingZeroBitCount - 2
        let mantissa = ((pages - 1) >> shift) + 1  // 5…8
        return (shift * 4 + mantissa - 1, (mantissa << shift) << 12)
    }

    /// Addresses the range for `bytes` has: what a value can grow to without moving.
    static func capacity(_ bytes: Int) -> Int { sizeClass(bytes).bytes }

    /// A zero-filled range for `bytes` bytes, of which `used` are charged now; nil without RAM.
    func allocate(_ bytes: Int, charging used: Int, reserve: Int = 0) -> UnsafeMutableRawPointer? {
        guard ledger.take(Extents.pages(used), reserve: reserve) else { return nil }
        let (index, size) = Extents.sizeClass(bytes)
        lock.lock()
        defer { lock.unlock() }
        if let offset = free[index].popLast() { return space.base + offset }
        guard next + size <= space.byteCount else {
            ledger.give(Extents.pages(used))
            return nil
        }
        next += size
        return space.base + (next - size)
    }

    /// Charges for growth within a range from `old` used bytes to `new`.
    func charge(from old: Int, to new: Int, reserve: Int = 0) -> Bool {
        let more = Extents.pages(new) - Extents.pages(old)
        if more <= 0 { return true }
        return ledger.take(more, reserve: reserve)
    }

    /// Frees a range allocated for `bytes`, of which `used` are charged.
    func free(_ range: UnsafeMutableRawPointer, bytes: Int, charged used: Int) {
        let (index, size) = Extents.sizeClass(bytes)
        space.release(offset: range - space.base, count: size)
        ledger.give(Extents.pages(used))
        lock.lock()
        free[index].append(range - space.base)
        lock.unlock()
    }
}
