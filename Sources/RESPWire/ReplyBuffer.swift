import Glibc
import Primitives

/// Bytes on their way to a client: appended at the end, consumed from the front, in one growing
/// block of memory.
///
/// Growth moves the bytes. While the kernel reads them (a send in flight) nothing may be appended
/// here: the owner keeps two buffers and swaps them.
/// Cost: amortised O(bytes); no allocation once grown to the largest reply.
public final class ReplyBuffer {
    /// Lent to `ReplyWriter`s: a pointer, so that writing a reply counts no references.
    @usableFromInline internal let space: UnsafeMutablePointer<ReplySpace>

    public init(capacity: Int = 16 << 10) {
        space = .allocate(capacity: 1)
        space.initialize(to: ReplySpace(capacity: capacity))
    }

    deinit {
        space.pointee.memory.deallocate()
        space.deallocate()
    }

    /// Bytes of memory held.
    public var capacity: Int { space.pointee.capacity }
    /// Bytes not yet consumed.
    @inlinable public var count: Int { space.pointee.count }
    @inlinable public var isEmpty: Bool { count == 0 }
    /// Where they are. Valid until the next append, reserve or shrink.
    @inlinable public var bytes: UnsafeMutableRawPointer { space.pointee.bytes }
    @inlinable public var view: ByteView { ByteView(bytes, count) }
    /// What was appended after the first `mark` bytes.
    @inlinable public func view(from mark: Int) -> ByteView { view[mark..<count] }

    /// Room for `n` more bytes at the returned place; `commit` says how many were written.
    @inlinable @inline(__always)
    public func reserve(_ n: Int) -> UnsafeMutableRawPointer { space.pointee.reserve(n) }

    /// The first `n` bytes of what was reserved are now part of the buffer.
    @inlinable @inline(__always)
    public func commit(_ n: Int) {
        let room = space.pointee.limit &- space.pointee.end
        precondition(n >= 0 && n <= room, "committed more than was reserved")
        space.pointee.end &+= n
    }

    @inlinable public func append(_ bytes: ByteView) { space.pointee.append(bytes) }

    @inlinable public func append(_ text: StaticString) { space.pointee.append(text) }

    /// Puts bytes before the byte at `index`. Cost: moves what is behind them.
    public func insert(_ bytes: ByteView, at index: Int) {
        space.pointee.insert(bytes.count, at: index).copyMemory(from: bytes.base, byteCount: bytes.count)
    }

    @inlinable public func append(byte: UInt8) { space.pointee.append(byte: byte) }

    /// The first `n` bytes have been sent.
    @inlinable
    public func consume(_ n: Int) {
        precondition(n >= 0 && n <= count, "consumed more than there was")
        space.pointee.start &+= n
        if isEmpty { removeAll() }
    }

    @inlinable
    public func removeAll() {
        space.pointee.start = 0
        space.pointee.end = 0
    }

    /// Forgets everything after the first `n` bytes: a reply that turned out to be an error.
    public func truncate(to n: Int) { space.pointee.truncate(to: n) }

    /// Gives memory back after a large reply: if empty and above `bytes`, down to `bytes`.
    public func shrink(to bytes: Int) {
        let target = max(bytes, ReplySpace.capacityMin)
        if isEmpty, capacity > target { space.pointee.move(target) }
    }
}

/// What a `ReplyBuffer` owns.
@frozen @usableFromInline
struct ReplySpace {
    @usableFromInline var memory: UnsafeMutableRawPointer
    @usableFromInline var start = 0
    @usableFromInline var end = 0
    /// `capacity - slack`: up to here bytes may end, so that a header can be stored as one word.
    @usableFromInline var limit: Int
    var capacity: Int

    /// A header is stored eight bytes at a time; these bytes are always there to be overwritten.
    static let slack = 8
    static let capacityMin = 1024

    init(capacity wanted: Int) {
        capacity = max(wanted, ReplySpace.capacityMin)
        memory = .allocate(byteCount: capacity, alignment: 16)
        limit = capacity - ReplySpace.slack
    }

    @inlinable var count: Int { end &- start }
    @inlinable var bytes: UnsafeMutableRawPointer { memory + start }

    @inlinable @inline(__always)
    mutating func reserve(_ n: Int) -> UnsafeMutableRawPointer {
        if limit &- end < n { grow(n) }
        return memory + end
    }

    @inlinable @inline(__always)
    mutating func append(_ bytes: ByteView) {
        let out = reserve(bytes.count)
        memcpy(out, bytes.base, bytes.count)
        end &+= bytes.count
    }

    @inlinable
    mutating func append(_ text: StaticString) { append(ByteView(text)) }

    @inlinable @inline(__always)
    mutating func append(byte: UInt8) {
        reserve(1).storeBytes(of: byte, as: UInt8.self)
        end &+= 1
    }

    mutating func truncate(to n: Int) {
        precondition(n >= 0 && n <= count, "cannot truncate to more than there is")
        end = start + n
    }

    /// Puts `n` bytes before the byte at `index`, moving the rest: a header whose count was not
    /// known. Returns where to write them.
    mutating func insert(_ n: Int, at index: Int) -> UnsafeMutableRawPointer {
        precondition(index >= 0 && index <= count, "no such place in the reply")
        _ = reserve(n)
        let place = memory + start + index
        memmove(place + n, place, count - index)
        end += n
        return place
    }

    @usableFromInline @inline(never)
    mutating func grow(_ n: Int) {
        let needed = count + n + ReplySpace.slack
        // Reuse consumed room only if it is half of the memory: each byte then moves O(1) times.
        if needed <= capacity, start >= capacity / 2 {
            memmove(memory, memory + start, count)
            end -= start
            start = 0
        } else {
            move(max(needed, capacity * 2))
        }
    }

    mutating func move(_ newCapacity: Int) {
        let larger = UnsafeMutableRawPointer.allocate(byteCount: newCapacity, alignment: 16)
        memcpy(larger, memory + start, count)
        memory.deallocate()
        memory = larger
        end -= start
        start = 0
        capacity = newCapacity
        limit = newCapacity - ReplySpace.slack
    }
}
