import CSystem
import Primitives

/// The first blocks of a tier file: whose it is, its geometry, how its last server left it, and what each
/// segment held when the table was last written.
///
/// Shape:  | magic 8 "TIERLOG1" | format version 4 | block size 4 | segment size 8 | segments 8 |
///         | generation 8 | hash seed 8 | identity 8 | first segment at 8 | sequence 8 | ending 4 |
///         | swapped databases 4 | of each: logical 2, tables 2 … | 0 … | at 4092: crc32c 4 of all before |
///         then, from byte 4096, a row of 16 bytes a segment:
///         | state 1 | prepared 1 | 0 2 | version 4 | used 4 | live 4 |, and after the last row its crc32c 4.
/// Units:  bytes; `used` and `live` in bytes; generation counts the starts that used the file.
/// Format 1 and 2 had | crc32c 4 of the 48 bytes before | 0 to 4096 | from byte 48 on.
public struct Superblock: Equatable, Sendable {
    public static let magic: UInt64 = 0x3147_4F4C_5245_4954  // "TIERLOG1" in little endian
    public static let formatVersion: UInt32 = 3
    private static let swapsAt = 80, checksumAt = 4092
    /// How the server that used the file last has left it.
    public enum Ending: UInt32, Sendable {
        /// It runs, or was ended by force: what is in RAM alone is lost, the log may tell the rest.
        case none
        /// In order, with a checkpoint of this generation.
        case saved
        /// In order, and its contents are not wanted any more (SHUTDOWN NOSAVE).
        case dropped
    }
    /// A logical database and the number of the tables it is kept in.
    public struct Swap: Equatable, Sendable {
        public var database: Int
        public var tables: Int
        public init(database: Int, tables: Int) {
            self.database = database
            self.tables = tables
        }
    }

    public var segmentSize: Int
    public var segmentCount: Int
    public var generation: UInt64
    public var hashSeed: UInt64
    /// Of all that is in the file: another one is drawn whenever it starts empty.
    public var identity: UInt64 = 0
    /// Bytes before the first segment.
    public var headerSize: Int
    /// No record has a higher number, unless it was written after the superblock.
    public var sequence: UInt64 = 0
    public var ending = Ending.none
    /// The databases SWAPDB has exchanged; as many as fit.
    public var swaps: [Swap] = []
    /// The format it was read in.
    public private(set) var format = formatVersion

    public init(
        segmentSize: Int, segmentCount: Int, generation: UInt64, hashSeed: UInt64, headerSize: Int = 0
    ) {
        self.segmentSize = segmentSize
        self.segmentCount = segmentCount
        self.generation = generation
        self.hashSeed = hashSeed
        self.headerSize = headerSize > 0 ? headerSize : Superblock.reserved(segments: segmentCount)
    }

    /// Bytes that superblock and table take for so many segments.
    public static func size(segments: Int) -> Int { 4096 + ((segments * 16 + 4 + 4095) & ~4095) }

    /// Bytes before the first segment of a new file: it may come to have eight times as many segments.
    public static func reserved(segments: Int) -> Int {
        size(segments: min(max(8 * segments, 4096), Address.segmentLimit))
    }

    /// Segments the table has room for.
    public static func rows(headerSize: Int) -> Int { (headerSize - 4096 - 4) / 16 }

    public enum Refusal: Error, Equatable, Sendable {
        case notATierFile, damaged, newerFormat(UInt32)
    }

    /// Writes the superblock to 4096 bytes.
    public func encode(to target: UnsafeMutableRawPointer) {
        target.initializeMemory(as: UInt8.self, repeating: 0, count: 4096)
        target.storeBytes(of: Superblock.magic, as: UInt64.self)
        target.storeBytes(of: Superblock.formatVersion, toByteOffset: 8, as: UInt32.self)
        target.storeBytes(of: 4096, toByteOffset: 12, as: UInt32.self)
        let words = [
            UInt64(segmentSize), UInt64(segmentCount), generation, hashSeed, identity, UInt64(headerSize),
            sequence,
        ]
        for (i, word) in words.enumerated() {
            target.storeBytes(of: word, toByteOffset: 16 + 8 * i, as: UInt64.self)
        }
        target.storeBytes(of: ending.rawValue, toByteOffset: 72, as: UInt32.self)
        let fitting = swaps.prefix((Superblock.checksumAt - Superblock.swapsAt) / 4)
        target.storeBytes(of: UInt32(fitting.count), toByteOffset: 76, as: UInt32.self)
        for (i, swap) in fitting.enumerated() {
            let at = target + Superblock.swapsAt + 4 * i
            at.storeBytes(of: UInt16(swap.database), as: UInt16.self)
            at.storeBytes(of: UInt16(swap.tables), toByteOffset: 2, as: UInt16.self)
        }
        let checksum = csystem_crc32c(0, target, Superblock.checksumAt)
        target.storeBytes(of: checksum, toByteOffset: Superblock.checksumAt, as: UInt32.self)
    }

    /// Reads a superblock from at least 4096 bytes.
    public init(decoding bytes: UnsafeRawPointer) throws(Refusal) {
        guard bytes.load(as: UInt64.self) == Superblock.magic else { throw .notATierFile }
        format = bytes.load(fromByteOffset: 8, as: UInt32.self)
        guard format <= Superblock.formatVersion else { throw .newerFormat(format) }
        let checked = format < 3 ? 48 : Superblock.checksumAt
        guard csystem_crc32c(0, bytes, checked) == bytes.load(fromByteOffset: checked, as: UInt32.self)
        else { throw .damaged }
        func word(_ at: Int) -> Int {
            Int(truncatingIfNeeded: bytes.load(fromByteOffset: at, as: UInt64.self))
        }
        segmentSize = word(16)
        segmentCount = word(24)
        generation = bytes.load(fromByteOffset: 32, as: UInt64.self)
        hashSeed = bytes.load(fromByteOffset: 40, as: UInt64.self)
        let sizes = (4096...(64 << 20)).contains(segmentSize) && segmentSize & 4095 == 0
        guard sizes, (0...Address.segmentLimit).contains(segmentCount) else { throw .damaged }
        let least = Superblock.size(segments: segmentCount)
        headerSize = least
        if format < 3 { return }
        identity = bytes.load(fromByteOffset: 48, as: UInt64.self)
        headerSize = word(56)
        sequence = bytes.load(fromByteOffset: 64, as: UInt64.self)
        let most = Superblock.size(segments: Address.segmentLimit)
        guard (least...most).contains(headerSize), headerSize & 4095 == 0,
            let ending = Ending(rawValue: bytes.load(fromByteOffset: 72, as: UInt32.self))
        else { throw .damaged }
        self.ending = ending
        try decode(swaps: bytes)
    }

    private mutating func decode(swaps bytes: UnsafeRawPointer) throws(Refusal) {
        let count = Int(bytes.load(fromByteOffset: 76, as: UInt32.self))
        guard count <= (Superblock.checksumAt - Superblock.swapsAt) / 4 else { throw .damaged }
        for i in 0..<count {
            let at = bytes + Superblock.swapsAt + 4 * i
            swaps.append(Swap(
                database: Int(at.load(as: UInt16.self)),
                tables: Int(at.load(fromByteOffset: 2, as: UInt16.self))))
        }
    }

    /// One row of the segment table.
    public struct SegmentRow: Equatable, Sendable {
        public var state: SegmentLog.State
        public var version: UInt32
        public var used: Int
        public var live: Int
        /// Footprints of the records appended; of a checkpoint's rows alone.
        public var filled = 0
        /// The file has the segment's blocks.
        public var isPrepared = false

        public init(
            state: SegmentLog.State, version: UInt32, used: Int, live: Int, filled: Int = 0,
            isPrepared: Bool = false
        ) {
            self.state = state
            self.version = version
            self.used = used
            self.live = live
            self.filled = filled
            self.isPrepared = isPrepared
        }

        /// Shape: | state 1 | prepared 1 | 0 2 | version 4 | used 4 | `last` 4 |.
        func encode(to at: UnsafeMutableRawPointer, last: Int) {
            at.storeBytes(of: UInt32(state.rawValue) | (isPrepared ? 256 : 0), as: UInt32.self)
            at.storeBytes(of: version, toByteOffset: 4, as: UInt32.self)
            at.storeBytes(of: UInt32(used), toByteOffset: 8, as: UInt32.self)
            at.storeBytes(of: UInt32(max(0, last)), toByteOffset: 12, as: UInt32.self)
        }

        /// A row, and the number that stands last in it; nil when there is no such state.
        init?(decoding at: UnsafeRawPointer, last: inout Int) {
            guard let state = SegmentLog.State(rawValue: at.load(as: UInt8.self)) else { return nil }
            self.init(
                state: state, version: at.load(fromByteOffset: 4, as: UInt32.self),
                used: Int(at.load(fromByteOffset: 8, as: UInt32.self)), live: 0,
                isPrepared: at.load(fromByteOffset: 1, as: UInt8.self) == 1)
            last = Int(at.load(fromByteOffset: 12, as: UInt32.self))
        }
    }

    /// Writes the segment table of `log` to `size(segments:) - 4096` bytes.
    public static func encodeTable(of log: SegmentLog, to target: UnsafeMutableRawPointer) {
        for segment in 0..<log.segmentCount {
            let row = log.row(segment)
            row.encode(to: target + segment * 16, last: row.live)
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
            var live = 0
            guard var row = SegmentRow(decoding: bytes + at, last: &live) else { return nil }
            row.live = live
            rows.append(row)
        }
        return rows
    }
}

/// The first 4 KiB block of a segment.
///
/// Shape: | magic 8 "TIERSEG1" | segment 4 | version 4 | identity 8 | stream 1 | 0 3 | crc32c 4 of 28 |
/// The identity is the superblock's: a segment of what was in the file before has another; 0: of format 2.
public enum SegmentHeader {
    public static let size = 4096
    static let magic: UInt64 = 0x3147_4553_5245_4954

    static func encode(
        to target: UnsafeMutableRawPointer, segment: Int, version: UInt32, stream: SegmentLog.Stream,
        identity: UInt64
    ) {
        target.initializeMemory(as: UInt8.self, repeating: 0, count: size)
        target.storeBytes(of: magic, as: UInt64.self)
        target.storeBytes(of: UInt32(segment), toByteOffset: 8, as: UInt32.self)
        target.storeBytes(of: version, toByteOffset: 12, as: UInt32.self)
        target.storeBytes(of: identity, toByteOffset: 16, as: UInt64.self)
        target.storeBytes(of: stream.rawValue, toByteOffset: 24, as: UInt8.self)
        target.storeBytes(of: csystem_crc32c(0, target, 28), toByteOffset: 28, as: UInt32.self)
    }

    /// The segment's version, or nil when the block is not the header of `segment`.
    public static func decode(_ bytes: UnsafeRawPointer, segment: Int, identity: UInt64) -> UInt32? {
        let own = bytes.load(fromByteOffset: 16, as: UInt64.self)
        guard bytes.load(as: UInt64.self) == magic,
            bytes.load(fromByteOffset: 8, as: UInt32.self) == UInt32(segment),
            csystem_crc32c(0, bytes, 28) == bytes.load(fromByteOffset: 28, as: UInt32.self),
            own == identity || own == 0
        else { return nil }
        return bytes.load(fromByteOffset: 12, as: UInt32.self)
    }
}
