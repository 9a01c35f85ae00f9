import CLiburing
import Glibc

/// Names a group of provided buffers within one ring.
@frozen public struct BufferGroup: Equatable, Hashable, Sendable {
    public let id: UInt16

    @inlinable public init(_ id: UInt16) { self.id = id }
}

/// Receive buffers the kernel takes by itself when bytes arrive, so idle connections hold none.
///
/// A completion with a `bufferID` lends that buffer to the caller until `recycle`. Destroyed on the
/// ring's thread, after the receives that use the group have ended.
///
/// Shape: a ring of `count` 16-byte entries shared with the kernel, and `count` × `size` bytes.
/// Cost:  recycle is two stores and no system call.
/// Source: io_uring_register_buf_ring(3).
public struct ProvidedBuffers: ~Copyable {
    public let group: BufferGroup
    public let count: Int
    /// Bytes per buffer: the most one receive completion can carry.
    public let size: Int

    let owner: RingOwner
    let entries: MappedMemory
    let memory: MappedMemory
    /// Points into `entries`; the kernel reads it, this thread alone writes.
    @usableFromInline let shared: UnsafeMutablePointer<io_uring_buf_ring>
    @usableFromInline let base: UnsafeMutableRawPointer

    /// Maps the buffers, registers the group and hands all buffers to the kernel.
    ///
    /// Units:  `count` is a power of two up to 32768; `size` in bytes.
    /// Errors: `.mapMemory`, `.registerBufferGroup` – the limits, or the group exists.
    public init(
        _ ring: borrowing Ring, group: BufferGroup, count: Int, size: Int
    ) throws(RingError) {
        precondition(count > 0 && count <= 32768 && count & (count - 1) == 0, "a power of two")
        precondition(size > 0 && size <= 1 << 30, "1 byte to 1 GiB")
        // All that can fail comes first: fields are set only once nothing needs undoing.
        let entries = try MappedMemory(bytes: count * MemoryLayout<io_uring_buf>.stride)
        let memory = try MappedMemory(bytes: count * size)
        var request = io_uring_buf_reg()
        request.ring_addr = UInt64(UInt(bitPattern: entries.base))
        request.ring_entries = UInt32(count)
        request.bgid = group.id
        let status = io_uring_register_buf_ring(ring.raw, &request, 0)
        guard status == 0 else { throw RingError(.registerBufferGroup, -status) }
        owner = ring.owner
        self.group = group
        self.count = count
        self.size = size
        base = memory.base
        shared = entries.base.assumingMemoryBound(to: io_uring_buf_ring.self)
        self.entries = entries
        self.memory = memory
        io_uring_buf_ring_init(shared)
        for id in 0..<count { recycle(UInt16(id)) }
    }

    deinit {
        // Before the memory goes: the kernel must not receive into what is mapped there next.
        io_uring_unregister_buf_ring(owner.raw, Int32(group.id))
    }

    /// Where a lent buffer's bytes begin; as many are valid as the completion's result says.
    @inlinable @inline(__always)
    public func address(of id: UInt16) -> UnsafeMutableRawPointer {
        precondition(Int(id) < count, "no such buffer")
        return base + Int(id) &* size
    }

    /// Gives a lent buffer back to the kernel, which may overwrite it at once.
    ///
    /// Exactly once per completion that carried it: twice would lend it to two connections.
    @inlinable @inline(__always)
    public mutating func recycle(_ id: UInt16) {
        io_uring_buf_ring_add(
            shared, address(of: id), UInt32(truncatingIfNeeded: size), id, Int32(count &- 1), 0)
        io_uring_buf_ring_advance(shared, 1)
    }
}
