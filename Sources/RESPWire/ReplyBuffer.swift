import Glibc
import Primitives

/// Bytes on their way to a client: appended at the end, consumed from the front, in one growing
/// block of memory.
///
/// Growth moves the bytes. While the kernel reads them (a send in flight) nothing may be appended
/// here: the owner keeps two buffers and swaps them.
/// Cost: amortised O(bytes); no allocation once grown to the largest reply.
public final class ReplyBuffer {
    @usableFromInline internal var memory: UnsafeMutableRawPointer
    @usableFromInline internal var start = 0
    @usableFromInline internal var end = 0
    /// Bytes of memory held.
    public private(set) var capacity: Int
    /// `capacity - slack`: up to here bytes may end, so that a header can be stored as one word.
    @usableFromInline internal var limit: Int

    /// A header is stored eight bytes at a time; these bytes are always there to be overwritten.
    static let slack = 8
    static let capacityMin = 1024

    public init(capacity: Int = 16 << 10) {
        let bytes = max(capacity, ReplyBuffer.capacityMin)
        memory = .allocate(byteCount: bytes, alignment: 16)
        self.capacity = bytes
        limit = bytes - ReplyBuffer.slack
    }

    deinit { memory.deallocate() }

    /// Bytes not yet consumed.
    @inlinable public var count: Int { end &- start }
    @inlinable public var isEmpty: Bool { end == start }
    /// Where they are. Valid until the next append, reserve or shrink.
    @inlinable public var bytes: UnsafeMutableRawPointer { memory + start }
    @inlinable public var view: ByteView { ByteView(memory + start, end &- start) }

    /// Room for `n` more bytes at the returned place; `commit` says how many were written.
    @inlinable @inline(__always)
    public func reserve(_ n: Int) -> UnsafeMutableRawPointer {
        if limit &- end < n { grow(n) }
        return memory + end
    }

    /// The first `n` bytes of what was reserved are now part of the buffer.
    @inlinable @inline(__always)
    public func commit(_ n: Int) {
        precondition(n >= 0 && n <= limit &- end, "committed more than was reserved")
        end &+= n
    }

    @inlinable @inline(__always)
    public func append(_ bytes: ByteView) {
        let out = reserve(bytes.count)
        memcpy(out, bytes.base, bytes.count)
        end &+= bytes.count
    }

    @inlinable
    public func append(_ text: StaticString) { append(ByteView(text)) }

    @inlinable @inline(__always)
    public func append(byte: UInt8) {
        reserve(1).storeBytes(of: byte, as: UInt8.self)
        end &+= 1
    }

    /// The first `n` bytes have been sent.
    @inlinable
    public func consume(_ n: Int) {
        precondition(n >= 0 && n <= count, "consumed more than there was")
        start &+= n
        if start == end {
            start = 0
            end = 0
        }
    }

    public func removeAll() {
        start = 0
        end = 0
    }

    /// Forgets everything after the first `n` bytes: a reply that turned out to be an error.
    public func truncate(to n: Int) {
        precondition(n >= 0 && n <= count, "cannot truncate to more than there is")
        end = start + n
    }

    /// Gives memory back after a large reply: if empty and above `bytes`, down to `bytes`.
    public func shrink(to bytes: Int) {
        let target = max(bytes, ReplyBuffer.capacityMin)
        if isEmpty, capacity > target { move(target) }
    }

    /// Puts `n` bytes before the byte at `index`, moving the rest: a header whose count was not
    /// known. Returns where to write them.
    func insert(_ n: Int, at index: Int) -> UnsafeMutableRawPointer {
        precondition(index >= 0 && index <= count, "no such place in the reply")
        _ = reserve(n)
        let place = memory + start + index
        memmove(place + n, place, count - index)
        end += n
        return place
    }

    @usableFromInline @inline(never)
    internal func grow(_ n: Int) {
        let needed = count + n + ReplyBuffer.slack
        // Reuse consumed room only if it is half of the memory: each byte then moves O(1) times.
        if needed <= capacity, start >= capacity / 2 {
            memmove(memory, memory + start, count)
            end -= start
            start = 0
        } else {
            move(max(needed, capacity * 2))
        }
    }

    private func move(_ newCapacity: Int) {
        let larger = UnsafeMutableRawPointer.allocate(byteCount: newCapacity, alignment: 16)
        memcpy(larger, memory + start, count)
        memory.deallocate()
        memory = larger
        end -= start
        start = 0
        capacity = newCapacity
        limit = newCapacity - ReplyBuffer.slack
    }
}
