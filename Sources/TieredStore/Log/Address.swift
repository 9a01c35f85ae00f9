/// Where a record stands in the log, and how long it is, in one word.
///
/// Shape:  | version 10 | segment 19 | offset 23, in units of 8 bytes | footprint 12 |
///         footprint: | exponent 5 | mantissa 7 |, in units of 8 bytes, rounded up by under 1 %.
/// Why:    segment, version and offset are all checked before a read is trusted or a record
///         relocated (memcached #1047: comparing less lets a stale record pass).
/// The word 0 is no address: offset 0 of a segment is its header.
public struct Address: Equatable, Sendable {
    public let raw: UInt64

    @inline(__always) public init(raw: UInt64) { self.raw = raw }

    init(segment: Int, version: UInt32, offset: Int, byteCount: Int) {
        raw =
            UInt64(version & 0x3ff) << 54 | UInt64(segment) << 35 | UInt64(offset >> 3) << 12
            | UInt64(Address.encode((byteCount + 7) >> 3))
    }

    public static let segmentLimit = 1 << 19
    static let none = Address(raw: 0)
    @inline(__always) public var isNone: Bool { raw == 0 }
    public var version: UInt32 { UInt32(raw >> 54) }
    public var segment: Int { Int(raw >> 35 & 0x7_ffff) }
    public var offset: Int { Int(raw >> 12 & 0x7f_ffff) << 3 }

    /// Bytes the record takes from its segment's live bytes; at least its length.
    public var footprint: Int {
        let code = Int(raw & 0xfff)
        let exponent = code >> 7, mantissa = code & 127
        return (exponent == 0 ? mantissa : (128 + mantissa) << (exponent - 1)) << 3
    }

    /// Bytes a read must cover, counted from the block the record starts in.
    /// A long value compressed to less than a block may straddle two.
    var readBytes: Int { ((offset & 4095) + footprint + 4095) & ~4095 }

    private static func encode(_ units: Int) -> Int {
        var exponent = 0, mantissa = units
        while mantissa > (exponent == 0 ? 127 : 255) {
            mantissa = exponent == 0 ? mantissa : (mantissa + 1) >> 1
            exponent += 1
        }
        return exponent == 0 ? mantissa : exponent << 7 | (mantissa - 128)
    }
}
