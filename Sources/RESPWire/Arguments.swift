import Primitives

/// One request's words, name first, lent for as long as the input and the word list stay as they
/// are: until the handler returns. Owns nothing.
@frozen public struct Arguments {
    @usableFromInline let base: UnsafeRawPointer
    @usableFromInline let words: UnsafePointer<WordRange>
    public let count: Int

    @inlinable @inline(__always)
    public init(_ base: UnsafeRawPointer, _ words: UnsafePointer<WordRange>, _ count: Int) {
        self.base = base
        self.words = words
        self.count = count
    }

    @inlinable @inline(__always)
    public subscript(index: Int) -> ByteView {
        precondition(UInt(bitPattern: index) < UInt(bitPattern: count), "no such word")
        let word = words[index]
        return ByteView(base + Int(word.offset), Int(word.count))
    }

    /// The words from `first` on: a subcommand's words.
    @inlinable
    public func dropFirst(_ first: Int) -> Arguments {
        precondition(first >= 0 && first <= count, "no such word")
        return Arguments(base, words + first, count - first)
    }
}
