import Glibc
import Primitives

/// Writes replies into a `ReplyBuffer`, in RESP2 or RESP3: one method per kind of reply.
///
/// Kinds RESP2 lacks are written as Redis 7.0 does: a map as an array of twice the count, a set or
/// push as an array, a double, big number or verbatim text as a bulk, a boolean as 0 or 1.
/// An aggregate is its header followed by as many replies as it says; nothing checks that here.
/// Source: RESP3 specification (antirez/RESP3); Redis 7.0 networking.c, addReply*.
@frozen public struct ReplyWriter {
    public enum Version: UInt8, Sendable {
        case resp2 = 2
        case resp3 = 3
    }

    /// The buffer's, which must outlive its writers.
    @usableFromInline let space: UnsafeMutablePointer<ReplySpace>
    public var version: Version

    @inlinable
    public init(_ buffer: ReplyBuffer, version: Version = .resp2) {
        space = buffer.space
        self.version = version
    }

    @inlinable @inline(__always)
    public func ok() {
        // "+OK\r\n", little-endian, in one store.
        storeWord(0x0a0d_4b4f_2b, 5)
    }

    /// `text` must hold no line break.
    @inlinable public func simple(_ text: StaticString) { simple(ByteView(text)) }

    @inlinable public func simple(_ text: ByteView) { line(UInt8(ascii: "+"), text) }

    /// `text` with its code first ("ERR no such key"). Line breaks become spaces.
    @inlinable public func error(_ text: StaticString) { error(ByteView(text)) }

    public func error(_ text: ByteView) {
        let first = space.pointee.end - space.pointee.start
        line(UInt8(ascii: "-"), text)
        let out = space.pointee.bytes + first + 1
        for i in 0..<text.count where text[i] == 10 || text[i] == 13 {
            out.storeBytes(of: UInt8(ascii: " "), toByteOffset: i, as: UInt8.self)
        }
    }

    /// An error in pieces, so that words of the request can be quoted without a copy.
    public func error(_ before: StaticString, _ quoted: ByteView, _ after: StaticString) {
        let whole = before.utf8CodeUnitCount + quoted.count + after.utf8CodeUnitCount
        withUnsafeTemporaryAllocation(byteCount: whole, alignment: 1) { text in
            let base = text.baseAddress!
            var at = 0
            for part in [ByteView(before), quoted, ByteView(after)] {
                memcpy(base + at, part.base, part.count)
                at += part.count
            }
            error(ByteView(base, whole))
        }
    }

    /// The answer to bytes that are no request; the connection closes after it.
    public func failure(_ why: ProtocolFailure) {
        space.pointee.append("-ERR Protocol error: ")
        space.pointee.append(why.text)
        if case .expectedBulk(let found) = why {
            space.pointee.append(byte: found == 10 || found == 13 ? UInt8(ascii: " ") : found)
            space.pointee.append(byte: UInt8(ascii: "'"))
        }
        space.pointee.append("\r\n")
    }

    @inlinable public func integer(_ value: Int64) { number(UInt8(ascii: ":"), value) }

    @inlinable public func integer(_ value: Int) { integer(Int64(value)) }

    /// One room check, header, bytes, line end.
    @inlinable
    public func bulk(_ bytes: ByteView) {
        let out = bulk(count: bytes.count)
        memcpy(out, bytes.base, bytes.count)
    }

    @inlinable public func bulk(_ text: StaticString) { bulk(ByteView(text)) }

    /// A bulk of `count` bytes, complete but for the bytes themselves, which the caller writes at
    /// the returned place before anything else is written: values copied from several pieces.
    @inlinable @inline(__always)
    public func bulk(count: Int) -> UnsafeMutableRawPointer {
        let out = space.pointee.reserve(count &+ 32)
        let header = ReplyWriter.header(UInt8(ascii: "$"), count, out)
        (out + header + count).storeBytes(of: UInt16(0x0a0d).littleEndian, as: UInt16.self)
        space.pointee.end &+= header &+ count &+ 2
        return out + header
    }

    /// An integer as a bulk, as commands on strings reply.
    public func bulk(_ value: Int64) {
        withUnsafeTemporaryAllocation(byteCount: Decimal.integerBytesMax, alignment: 8) { text in
            let base = text.baseAddress!
            bulk(ByteView(base, Decimal.write(value, to: base)))
        }
    }

    /// RESP2 "$-1", RESP3 "_".
    @inlinable
    public func null() {
        if version == .resp3 {
            storeWord(0x0a0d_5f, 3)
        } else {
            storeWord(0x0a0d_312d_24, 5)
        }
    }

    /// RESP2 "*-1", RESP3 "_".
    @inlinable
    public func nullArray() {
        if version == .resp3 {
            storeWord(0x0a0d_5f, 3)
        } else {
            storeWord(0x0a0d_312d_2a, 5)
        }
    }

    @inlinable
    public func array(_ count: Int) { aggregate(UInt8(ascii: "*"), count) }

    /// `count` pairs, each a key and a value.
    @inlinable
    public func map(_ count: Int) {
        if version == .resp3 {
            aggregate(UInt8(ascii: "%"), count)
        } else {
            array(count * 2)
        }
    }

    @inlinable
    public func set(_ count: Int) {
        aggregate(version == .resp3 ? UInt8(ascii: "~") : UInt8(ascii: "*"), count)
    }

    @inlinable
    public func push(_ count: Int) {
        aggregate(version == .resp3 ? UInt8(ascii: ">") : UInt8(ascii: "*"), count)
    }

    /// `count` pairs about the reply that follows. RESP3 only: RESP2 has no place for them.
    public func attribute(_ count: Int) {
        precondition(version == .resp3, "attributes exist in RESP3 only")
        aggregate(UInt8(ascii: "|"), count)
    }

    /// "%.17g"; infinities are "inf" and "-inf".
    public func double(_ value: Double) {
        withUnsafeTemporaryAllocation(byteCount: Decimal.doubleBytesMax, alignment: 8) { text in
            let base = text.baseAddress!
            let shown = ByteView(base, Decimal.write(value, to: base))
            if version == .resp3 {
                line(UInt8(ascii: ","), shown)
            } else {
                bulk(shown)
            }
        }
    }

    /// INCRBYFLOAT's reply: 17 decimals without trailing zeroes, a bulk in both versions.
    public func longDouble(_ value: LongDouble) {
        withUnsafeTemporaryAllocation(byteCount: Decimal.fixedBytesMax, alignment: 8) { text in
            let base = text.baseAddress!
            bulk(ByteView(base, Decimal.writeFixed(value, to: base)))
        }
    }

    /// The same text as a double.
    public func fixedDouble(_ value: LongDouble) {
        withUnsafeTemporaryAllocation(byteCount: Decimal.fixedBytesMax, alignment: 8) { text in
            let base = text.baseAddress!
            let shown = ByteView(base, Decimal.writeFixed(value, to: base))
            if version == .resp3 {
                line(UInt8(ascii: ","), shown)
            } else {
                bulk(shown)
            }
        }
    }

    public func boolean(_ value: Bool) {
        if version == .resp3 {
            line(UInt8(ascii: "#"), ByteView(value ? "t" : "f"))
        } else {
            integer(value ? 1 : 0)
        }
    }

    /// `digits` is a decimal integer of any length.
    public func bigNumber(_ digits: ByteView) {
        if version == .resp3 {
            line(UInt8(ascii: "("), digits)
        } else {
            bulk(digits)
        }
    }

    /// Text for people; `format` is three letters, "txt" or "mkd".
    public func verbatim(_ format: StaticString, _ text: ByteView) {
        precondition(format.utf8CodeUnitCount == 3, "a verbatim format has three letters")
        guard version == .resp3 else { return bulk(text) }
        aggregate(UInt8(ascii: "="), text.count + 4)
        space.pointee.append(format)
        space.pointee.append(byte: UInt8(ascii: ":"))
        space.pointee.append(text)
        space.pointee.append("\r\n")
    }
}

// Aggregates whose count is known only when their members have been written.
extension ReplyWriter {
    /// Where the next reply begins; give it to `array(_:at:)` or `rollBack(to:)`.
    /// Valid until the buffer is consumed.
    @inlinable public var mark: Int { space.pointee.count }

    /// What was written after `mark`.
    public func written(since mark: Int) -> ByteView {
        ByteView(space.pointee.bytes, space.pointee.count)[mark..<space.pointee.count]
    }

    /// Writes an array header of `count` before what was written since `mark`. Cost: moves it.
    public func array(_ count: Int, at mark: Int) { insert(UInt8(ascii: "*"), count, at: mark) }

    /// As `array(_:at:)`, for a set.
    public func set(_ count: Int, at mark: Int) {
        insert(version == .resp3 ? UInt8(ascii: "~") : UInt8(ascii: "*"), count, at: mark)
    }

    /// As `array(_:at:)`, for `count` pairs.
    public func map(_ count: Int, at mark: Int) {
        guard version == .resp3 else { return array(count * 2, at: mark) }
        insert(UInt8(ascii: "%"), count, at: mark)
    }

    /// Forgets what was written since `mark`.
    public func rollBack(to mark: Int) { space.pointee.truncate(to: mark) }

    private func insert(_ kind: UInt8, _ count: Int, at mark: Int) {
        withUnsafeTemporaryAllocation(byteCount: 32, alignment: 8) { text in
            let base = text.baseAddress!
            let bytes = ReplyWriter.header(kind, count, base)
            space.pointee.insert(bytes, at: mark).copyMemory(from: base, byteCount: bytes)
        }
    }
}

extension ReplyWriter {
    /// Writes `kind`, the count and a line end at `out`, which has room for 32 bytes. Returns the
    /// bytes written. Counts under 1000 are put together in a register and stored at once.
    @inlinable @inline(__always)
    static func header(_ kind: UInt8, _ count: Int, _ out: UnsafeMutableRawPointer) -> Int {
        let n = UInt64(truncatingIfNeeded: count)
        if n < 10 {
            store(UInt64(kind) | (n &+ 48) << 8 | 0x0a0d << 16, out)
            return 4
        }
        if n < 100 {
            let tens = n / 10
            let ones = n &- tens &* 10
            store(UInt64(kind) | (tens &+ 48) << 8 | (ones &+ 48) << 16 | 0x0a0d << 24, out)
            return 5
        }
        if n < 1000 {
            let hundreds = n / 100
            let tens = n / 10 &- hundreds &* 10
            let ones = n &- n / 10 &* 10
            let digits = (hundreds &+ 48) << 8 | (tens &+ 48) << 16 | (ones &+ 48) << 24
            store(UInt64(kind) | digits | 0x0a0d << 32, out)
            return 6
        }
        return longHeader(kind, Int64(count), out)
    }

    @usableFromInline
    static func longHeader(_ kind: UInt8, _ count: Int64, _ out: UnsafeMutableRawPointer) -> Int {
        out.storeBytes(of: kind, as: UInt8.self)
        let digits = Decimal.write(count, to: out + 1)
        (out + 1 + digits).storeBytes(of: UInt16(0x0a0d).littleEndian, as: UInt16.self)
        return digits + 3
    }

    @inlinable @inline(__always)
    static func store(_ word: UInt64, _ out: UnsafeMutableRawPointer) {
        out.storeBytes(of: word.littleEndian, as: UInt64.self)
    }

    /// The first `count` bytes of `word`, lowest first.
    @inlinable @inline(__always)
    func storeWord(_ word: UInt64, _ count: Int) {
        ReplyWriter.store(word, space.pointee.reserve(8))
        space.pointee.end &+= count
    }

    @inlinable @inline(__always)
    func aggregate(_ kind: UInt8, _ count: Int) {
        precondition(count >= 0, "an aggregate cannot have fewer than no members")
        space.pointee.end &+= ReplyWriter.header(kind, count, space.pointee.reserve(32))
    }

    @inlinable @inline(__always)
    func number(_ kind: UInt8, _ value: Int64) {
        space.pointee.end &+= ReplyWriter.header(kind, Int(value), space.pointee.reserve(32))
    }

    @inlinable
    func line(_ kind: UInt8, _ text: ByteView) {
        let out = space.pointee.reserve(text.count &+ 3)
        out.storeBytes(of: kind, as: UInt8.self)
        memcpy(out + 1, text.base, text.count)
        (out + 1 + text.count).storeBytes(of: UInt16(0x0a0d).littleEndian, as: UInt16.self)
        space.pointee.end &+= text.count &+ 3
    }
}
