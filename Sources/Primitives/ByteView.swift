import CSystem
import Glibc

/// A borrowed run of bytes: an address and a count, checked on every access by index.
///
/// Whoever lends it says how long it lives: a request's words live until the handler returns, an
/// entry's value until its stripe is unlocked. It owns nothing and frees nothing. This is the byte
/// currency of the request path; `Span` would say the same with lifetimes the compiler checks, but
/// cannot yet be stored in the batches of words the parser fills (Swift 6.3).
@frozen public struct ByteView {
    public let base: UnsafeRawPointer
    public let count: Int

    @inlinable @inline(__always)
    public init(_ base: UnsafeRawPointer, _ count: Int) {
        self.base = base
        self.count = count
    }

    @inlinable @inline(__always)
    public init(_ buffer: UnsafeRawBufferPointer) {
        self.base = buffer.baseAddress ?? ByteView.nowhere
        self.count = buffer.count
    }

    @inlinable public init(_ literal: StaticString) {
        self.init(UnsafeRawPointer(literal.utf8Start), literal.utf8CodeUnitCount)
    }

    @inlinable static var nowhere: UnsafeRawPointer { UnsafeRawPointer(bitPattern: 16)! }
    /// No bytes at all.
    @inlinable public static var empty: ByteView { ByteView(nowhere, 0) }

    @inlinable public var isEmpty: Bool { count == 0 }

    @inlinable @inline(__always)
    public subscript(index: Int) -> UInt8 {
        precondition(UInt(bitPattern: index) < UInt(bitPattern: count), "byte index out of range")
        return base.load(fromByteOffset: index, as: UInt8.self)
    }

    /// The bytes from `start` up to `end`, both checked.
    @inlinable @inline(__always)
    public subscript(range: Range<Int>) -> ByteView {
        precondition(range.lowerBound >= 0 && range.upperBound <= count, "byte range out of bounds")
        return ByteView(base + range.lowerBound, range.count)
    }

    @inlinable public var buffer: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: base, count: count)
    }

    @inlinable @inline(__always)
    public static func == (a: ByteView, b: ByteView) -> Bool {
        a.count == b.count && memcmp(a.base, b.base, a.count) == 0
    }

    /// Byte-wise order, as memcmp, shorter first.
    public static func < (a: ByteView, b: ByteView) -> Bool {
        let order = memcmp(a.base, b.base, min(a.count, b.count))
        return order != 0 ? order < 0 : a.count < b.count
    }

    /// Equal to `word`, which must be given in lower case, ignoring ASCII case.
    @inlinable
    public func matches(_ word: StaticString) -> Bool {
        guard count == word.utf8CodeUnitCount else { return false }
        for i in 0..<count where ByteView.lowercased(self[i]) != word.utf8Start[i] { return false }
        return true
    }

    @inlinable @inline(__always)
    public static func lowercased(_ byte: UInt8) -> UInt8 {
        byte &- 65 < 26 ? byte | 0x20 : byte
    }

    /// A copy on the heap, for what must outlive the lender.
    public var array: [UInt8] { Array(buffer) }

    /// For messages and logs, never for keys or values: invalid UTF-8 is repaired.
    public var text: String { String(decoding: buffer, as: UTF8.self) }

    public var lowercasedText: String { text.lowercased() }
}

extension Array where Element == UInt8 {
    /// Lends the array's bytes for the duration of `body`.
    @inlinable
    public func withView<R>(_ body: (ByteView) throws -> R) rethrows -> R {
        try withUnsafeBytes { try body(ByteView($0)) }
    }
}
