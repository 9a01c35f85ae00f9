import CSystem
import Primitives

/// The first blocks of a tier file: whose it is, its geometry, and what each segment held when
/// the table was last written.
///
/// Shape:  | magic 8 "TIERLOG1" | format version 4 | block size 4 | segment size 8 | segments 8 |
///         | generation 8 | hash seed 8 | crc32c 4 of the 48 bytes before | 0 to 4096 |
///         then, from byte 4096, a row of 16 bytes a segment:
///         | state 1 | 0 3 | version 4 | used 4 | live 4 |, and after the last row its crc32c 4.
/// Units:  bytes; `used` and `live` in bytes; generation counts the starts that used the file.
public struct Superblock: Equatable, Sendable {
    public static let magic: UInt64 = 0x3147_4F4C_5245_4954  // "TIERLOG1" in little endian
    public static let formatVersion: UInt32 = 2
    public var segmentSize: Int
    public var segmentCount: Int
    public var generation: UInt64
    public var hashSeed: UInt64

    public init(segmentSize: Int, segmentCount: Int, generation: UInt64, hashSeed: UInt64) {
        self.segmentSize = segmentSize
        self.segmentCount = segmentCount
        self.generation = generation
        self.hashSeed = hashSeed
    }

    /// Bytes before the first segment.
    public static func size(segments: Int) -> Int { 4096 + ((segments * 16 + 4 + 4095) & ~4095) }

    public enum Refusal: Error, Equatable, Sendable {
        case notATierFile, damaged, newerFormat(UInt32)
    }

    /// Writes the superblock to 4096 bytes.
    public func encode(to target: UnsafeMutableRawPointer) {
        target.initializeMemory(as: UInt8.self, repeating: 0, count: 4096)
        target.storeBytes(of: Superblock.magic, as: UInt64.self)
        target.storeBytes(of: Superblock.formatVersion, toByteOffset: 8, as: UInt32.self)
        target.storeBytes(of: 4096, toByteOffset: 12, as: UInt32.self)
        target.storeBytes(of: UInt64(segmentSize), toByteOffset: 16, as: UInt64.self)
        target.storeBytes(of: UInt64(segmentCount), toByteOffset: 24, as: UInt64.self)
        target.storeBytes(of: generation, toByteOffset: 32, as: UInt64.self)
        target.storeBytes(of: hashSeed, toByteOffset: 40, as: UInt64.self)
        target.storeBytes(of: csystem_crc32c(0, target, 48), toByteOffset: 48, as: UInt32.self)
    }

    /// Reads a superblock from at least 4096 bytes.
    public init(decoding bytes: UnsafeRawPointer) throws(Refusal) {
        guard bytes.load(as: UInt64.self) == Superblock.magic else { throw .notATierFile }
        let version = bytes.load(fromByteOffset: 8, as: UInt32.self)
        guard version <= Superblock.formatVersion else { throw .newerFormat(version) }
        guard csystem_crc32c(0, bytes, 48) == bytes.load(fromByteOffset: 48, as: UInt32.self)
        else { throw .damaged }
        segmentSize = Int(truncatingIfNeeded: bytes.load(fromByteOffset: 16, as: UInt64.self))
        segmentCount = Int(truncatingIfNeeded: bytes.load(fromByteOffset: 24, as: UInt64.self))
        generation = bytes.load(fromByteOffset: 32, as: UInt64.self)
        hashSeed = bytes.load(fromByteOffset: 40, as: UInt64.self)
        let sizes = (4096...(64 << 20)).contains(segmentSize) && segmentSize & 4095 == 0
        guard sizes, (0...Address.segmentLimit).contains(segmentCount) else { throw .damaged }
    }

    /// One row of the segment table.
    public struct SegmentRow: Equatable, Sendable {
        public var state: SegmentLog.State
        public var version: UInt32
        public var used: Int
        public var live: Int
    }

    /// Writes the segment table of `log` to `size(segments:) - 4096` bytes.
    public static func encodeTable(of log: SegmentLog, to target: UnsafeMutableRawPointer) {
        for segment in 0..<log.segmentCount {
            let row = log.describe(segment), at = target + segment * 16
            at.storeBytes(of: UInt32(row.state.rawValue), as: UInt32.self)
            at.storeBytes(of: row.version, toByteOffset: 4, as: UInt32.self)
            at.storeBytes(of: UInt32(row.used), toByteOffset: 8, as: UInt32.self)
            at.storeBytes(of: UInt32(max(0, row.live)), toByteOffset: 12, as: UInt32.self)
        }
        let count = log.segmentCount * 16
        target.storeBytes(of: csystem_crc32c(0, target, count), toByteOffset: count, as: UInt32.self)
    }

    /// The rows of a segment table, or nil when its checksum fails.
    public static func decodeTable(_ bytes: UnsafeRawPointer, segments: Int) -> [SegmentRow]? {
        let count = segments * 16
        guard csystem_crc32c(0, bytes, count) == bytes.load(fromByteOffset: count, as: UInt32.self)
        else { return nil }
        var rows: [SegmentRow] = []
        for at in stride(from: 0, to: count, by: 16) {
            guard let state = SegmentLog.State(rawValue: bytes.load(fromByteOffset: at, as: UInt8.self))
            else { return nil }
            rows.append(SegmentRow(
                state: state, version: bytes.load(fromByteOffset: at + 4, as: UInt32.self),
                used: Int(bytes.load(fromByteOffset: at + 8, as: UInt32.self)),
                live: Int(bytes.load(fromByteOffset: at + 12, as: UInt32.self))))
        }
        return rows
    }
}

/// The first 4 KiB block of a segment.
///
/// Shape: | magic 8 "TIERSEG1" | segment 4 | version 4 | 0 8 | stream 1 | 0 3 | crc32c 4 of 28 |
public enum SegmentHeader {
    public static let size = 4096
    static let magic: UInt64 = 0x3147_4553_5245_4954

    static func encode(
        to target: UnsafeMutableRawPointer, segment: Int, version: UInt32, stream: SegmentLog.Stream
    ) {
        target.initializeMemory(as: UInt8.self, repeating: 0, count: size)
        target.storeBytes(of: magic, as: UInt64.self)
        target.storeBytes(of: UInt32(segment), toByteOffset: 8, as: UInt32.self)
        target.storeBytes(of: version, toByteOffset: 12, as: UInt32.self)
        target.storeBytes(of: stream.rawValue, toByteOffset: 24, as: UInt8.self)
        target.storeBytes(of: csystem_crc32c(0, target, 28), toByteOffset: 28, as: UInt32.self)
    }

    /// The segment's version, or nil when the block is not the header of `segment`.
    public static func decode(_ bytes: UnsafeRawPointer, segment: Int) -> UInt32? {
        guard bytes.load(as: UInt64.self) == magic,
            bytes.load(fromByteOffset: 8, as: UInt32.self) == UInt32(segment),
            csystem_crc32c(0, bytes, 28) == bytes.load(fromByteOffset: 28, as: UInt32.self)
        else { return nil }
        return bytes.load(fromByteOffset: 12, as: UInt32.self)
    }
}
