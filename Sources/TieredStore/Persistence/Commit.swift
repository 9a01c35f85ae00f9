import CSystem
import Primitives

/// The head of one commit of the append-only file: what was written, and acknowledged, together.
///
/// Shape:  | magic 4 "TAO1" | crc32c 4 | length 4 | extent 4 | sequence 8 | durable 8 | records, `length`
///         bytes | 0 to `extent` |; the next commit stands `extent` bytes behind this one's beginning.
///         The CRC begins with the file's number and covers all from `length` to the last record.
/// Units:  bytes; little endian. Sequences count commits from 1 on and go on from file to file.
/// Why:    `durable` is the last commit that was on the disk for certain when this one was written. A
///         commit that cannot be read is the torn end of the file, unless a later one says that it had been
///         durable: then what was acknowledged is damaged, and nothing is thrown away.
public struct Commit: Equatable, Sendable {
    public static let headerSize = 32
    static let magic: UInt32 = 0x314F_4154  // "TAO1" in little endian
    /// The magic without the digit of the version.
    static let anyMagic: UInt32 = 0x4F_4154

    public var length: Int
    public var extent: Int
    public var sequence: UInt64
    public var durable: UInt64

    /// Writes the head before the records that stand behind it already.
    func seal(_ at: UnsafeMutableRawPointer, file: Int) {
        at.storeBytes(of: Commit.magic, as: UInt32.self)
        at.storeBytes(of: UInt32(length), toByteOffset: 8, as: UInt32.self)
        at.storeBytes(of: UInt32(extent), toByteOffset: 12, as: UInt32.self)
        at.storeBytes(of: sequence, toByteOffset: 16, as: UInt64.self)
        at.storeBytes(of: durable, toByteOffset: 24, as: UInt64.self)
        let checksum = Commit.checksum(at, length, file)
        at.storeBytes(of: checksum, toByteOffset: 4, as: UInt32.self)
    }

    private static func checksum(_ at: UnsafeRawPointer, _ length: Int, _ file: Int) -> UInt32 {
        csystem_crc32c(UInt32(truncatingIfNeeded: file), at + 8, headerSize - 8 + length)
    }

    /// Reads a head of `headerSize` bytes; nil if its fields make no sense with `available` bytes from its
    /// beginning to the file's end.
    init?(_ at: UnsafeRawPointer, available: Int) {
        guard at.loadUnaligned(as: UInt32.self) == Commit.magic else { return nil }
        length = Int(at.loadUnaligned(fromByteOffset: 8, as: UInt32.self))
        extent = Int(at.loadUnaligned(fromByteOffset: 12, as: UInt32.self))
        sequence = at.loadUnaligned(fromByteOffset: 16, as: UInt64.self)
        durable = at.loadUnaligned(fromByteOffset: 24, as: UInt64.self)
        guard Commit.headerSize + length <= available, extent >= Commit.headerSize + length,
            durable < sequence
        else { return nil }
    }

    init(length: Int, extent: Int, sequence: UInt64, durable: UInt64) {
        self.length = length
        self.extent = extent
        self.sequence = sequence
        self.durable = durable
    }

    /// Whether head and records at `at` are as they were written to the file of this number.
    func isSound(_ at: UnsafeRawPointer, file: Int) -> Bool {
        Commit.checksum(at, length, file) == at.loadUnaligned(fromByteOffset: 4, as: UInt32.self)
    }

    /// A head of a newer format: its version's digit.
    static func newerVersion(_ at: UnsafeRawPointer) -> Character? {
        let word = at.loadUnaligned(as: UInt32.self)
        guard word & 0xff_ffff == anyMagic, word != magic else { return nil }
        return Character(UnicodeScalar(UInt8(word >> 24)))
    }
}
