import CLiburing
import Glibc

/// The kernel's number for a stretch of registered memory, as `readFixed` and `writeFixed` need it.
@frozen public struct BufferIndex: Equatable, Hashable, Sendable {
    public let index: UInt16

    @inlinable public init(_ index: UInt16) { self.index = index }
}

/// Equal buffers for disk operations, page-aligned, locked in memory and known to the ring.
///
/// A leased buffer is the caller's until `release`; while an operation is in flight it must stay
/// leased. One table per ring. Destroyed on the ring's thread.
///
/// Shape: one mapping; each stretch of up to 1 GiB (the kernel's limit) is one registered buffer.
/// Cost:  lease and release O(1), no allocation; the memory is resident from the start.
public struct RegisteredBuffers: ~Copyable {
    public let count: Int
    /// Bytes per buffer, a multiple of the page size, so that O_DIRECT takes any of them.
    public let size: Int

    let owner: RingOwner
    let memory: MappedMemory
    @usableFromInline let base: UnsafeMutableRawPointer
    @usableFromInline let perStretch: Int
    /// Indices of the free buffers, the first `freeCount` valid.
    @usableFromInline let free: UnsafeMutablePointer<UInt32>
    /// Per buffer: true while leased; makes a second release trap instead of corrupting data.
    @usableFromInline let leased: UnsafeMutablePointer<Bool>
    @usableFromInline var freeCount: Int

    /// Maps and registers `count` buffers of `size` bytes.
    ///
    /// Errors: `.mapMemory`, `.registerBuffers` – too much for the limits, or the ring has some.
    public init(_ ring: borrowing Ring, count: Int, size: Int) throws(RingError) {
        precondition(count > 0 && count <= 1 << 24, "1 to 16 Mi buffers")
        precondition(size > 0 && size % pageSize == 0 && size <= 1 << 30, "pages, up to 1 GiB")
        // All that can fail comes first: fields are set only once nothing needs undoing.
        let memory = try MappedMemory(bytes: count * size)
        let perStretch = (1 << 30) / size
        let stretches = stride(from: 0, to: count, by: perStretch).map { [base = memory.base] in
            iovec(iov_base: base + $0 * size, iov_len: min(perStretch, count - $0) * size)
        }
        let status = io_uring_register_buffers(ring.raw, stretches, UInt32(stretches.count))
        guard status == 0 else { throw RingError(.registerBuffers, -status) }
        owner = ring.owner
        base = memory.base
        self.memory = memory
        self.count = count
        self.size = size
        self.perStretch = perStretch
        free = .allocate(capacity: count)
        leased = .allocate(capacity: count)
        leased.initialize(repeating: false, count: count)
        // The lowest index is leased first, so a lightly loaded ring reuses warm memory.
        for index in 0..<count { (free + index).initialize(to: UInt32(count - 1 - index)) }
        freeCount = count
    }

    deinit {
        // Before the memory goes: the kernel must not write into what is mapped there next.
        io_uring_unregister_buffers(owner.raw)
        free.deallocate()
        leased.deallocate()
    }

    /// Buffers that can be leased now.
    @inlinable public var available: Int { freeCount }

    /// Takes a buffer, or nil when all are leased: wait for a completion that releases one.
    @inlinable
    public mutating func lease() -> Int? {
        guard freeCount > 0 else { return nil }
        freeCount &-= 1
        let index = Int(free[freeCount])
        leased[index] = true
        return index
    }

    /// Gives a leased buffer back; the kernel must be done with it.
    @inlinable
    public mutating func release(_ index: Int) {
        precondition(UInt(bitPattern: index) < UInt(bitPattern: count), "no such buffer")
        precondition(leased[index], "the buffer is not leased")
        leased[index] = false
        free[freeCount] = UInt32(truncatingIfNeeded: index)
        freeCount &+= 1
    }

    /// Where a buffer's `size` bytes begin.
    @inlinable @inline(__always)
    public func address(_ index: Int) -> UnsafeMutableRawPointer {
        precondition(UInt(bitPattern: index) < UInt(bitPattern: count), "no such buffer")
        return base + index &* size
    }

    /// The registered buffer a leased buffer lies in, to pass along with its address.
    @inlinable @inline(__always)
    public func bufferIndex(_ index: Int) -> BufferIndex {
        BufferIndex(UInt16(truncatingIfNeeded: index / perStretch))
    }
}
