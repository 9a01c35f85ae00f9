import Primitives

/// Writes a record of the append-only file where there is room for it.
public struct RecordWriter {
    private let start: UnsafeMutableRawPointer
    private var at: UnsafeMutableRawPointer

    init(_ start: UnsafeMutableRawPointer) {
        self.start = start
        at = start
    }

    /// Bytes written.
    var count: Int { at - start }

    public mutating func byte(_ byte: UInt8) {
        at.storeBytes(of: byte, as: UInt8.self)
        at += 1
    }

    public mutating func bytes(_ bytes: ByteView) {
        at.copyMemory(from: bytes.base, byteCount: bytes.count)
        at += bytes.count
    }

    /// A number that is not negative, in decimal, and the end of the line.
    public mutating func line(_ number: Int64) {
        var digits = 1, power: Int64 = 10
        while digits < 19, number >= power {
            digits += 1
            power = power &* 10
        }
        var rest = number
        for i in stride(from: digits - 1, through: 0, by: -1) {
            at.storeBytes(of: UInt8(truncatingIfNeeded: 48 + rest % 10), toByteOffset: i, as: UInt8.self)
            rest /= 10
        }
        at += digits
        byte(13)
        byte(10)
    }
}
