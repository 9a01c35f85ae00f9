import Primitives

/// Where one word of a request lies: bytes from the start of the input.
@frozen public struct WordRange {
    public let offset: UInt32
    public let count: UInt32

    @inlinable @inline(__always)
    public init(offset: UInt32, count: UInt32) {
        self.offset = offset
        self.count = count
    }
}

/// The words of a batch of requests, one request after another, in memory that is kept.
///
/// Cost: 8 bytes a word; no allocation once it has grown to the largest batch.
public struct WordList: ~Copyable {
    @usableFromInline internal private(set) var base: UnsafeMutablePointer<WordRange>
    public internal(set) var count = 0
    /// Words there is room for; `capacity * 8` bytes are held.
    public private(set) var capacity: Int

    public init(capacity: Int = 64) {
        precondition(capacity > 0, "a word list needs room")
        base = .allocate(capacity: capacity)
        self.capacity = capacity
    }

    deinit { base.deallocate() }

    /// The place of the next word, with room for `n` of them; `count` is the caller's to raise.
    @inline(__always)
    mutating func reserve(_ n: Int) -> UnsafeMutablePointer<WordRange> {
        if capacity - count < n { grow(count + n) }
        return base + count
    }

    @inline(__always)
    mutating func append(_ word: WordRange) {
        reserve(1).initialize(to: word)
        count += 1
    }

    @inline(never)
    private mutating func grow(_ least: Int) { move(max(least, capacity * 2)) }

    private mutating func move(_ newCapacity: Int) {
        let larger = UnsafeMutablePointer<WordRange>.allocate(capacity: newCapacity)
        larger.moveInitialize(from: base, count: count)
        base.deallocate()
        base = larger
        capacity = newCapacity
    }

    /// Forgets the words, keeps the memory.
    public mutating func removeAll() { count = 0 }

    /// Gives memory back after an unusually large request: at most `limit` words are kept.
    public mutating func shrink(to limit: Int) {
        if capacity > limit, count <= limit, limit > 0 { move(limit) }
    }

    public subscript(index: Int) -> WordRange {
        precondition(index >= 0 && index < count, "word index out of range")
        return base[index]
    }

    /// One request's words. Valid until this list or the input changes: take it after the whole
    /// batch has been parsed.
    @inlinable @inline(__always)
    public func arguments(_ input: UnsafeRawPointer, first: Int, count words: Int) -> Arguments {
        precondition(first >= 0 && words >= 0 && first + words <= count, "no such request")
        return Arguments(input, base + first, words)
    }
}
