import CSystem
import Primitives

/// The bytes of a checkpoint: head, blocks of keys, foot.
///
/// Shape:  head: | magic 8 "TIERCKP1" | format 4 | bytes 4 | identity 8 | generation 8 | hash seed 8 |
///         | created 8 | databases 4 | epoch 4 | swapped databases 4 | libraries 4 | of each swap: logical 2,
///         tables 2 … | of each library: length 4, source … | crc32c 4 of all before |
///         block: | magic 4 "CKPB" | crc32c 4 of what follows | bytes of items 8 | items 4 | 0 4 | items … |
///         tables marker: | 0 4 | tables 4 |: the items that follow in the block are in these tables
///         item: | flags 4 | access clock 3, 0 1 | value length 4 | address 8 | expiry 8, if any |
///         | key length 4, if over 254 | key … | value … |, at a multiple of 4 in its block. It is an
///         `Entry`; `resident` in its flags says that the value follows, as many bytes as the address
///         says, flat or in its RDB encoding; else the value is on the SSD.
///         foot: a block with the magic "CKPF" and, as its items: | keys 8 | addresses 8 | sequence 8 |
///         | rows 4 | segments 4 | counts 4 | 0 4 | rows of 20: segment 4, row as in the superblock with
///         `filled` last … | counts of 12: tables 4, keys 8 … |
///         then 0 … | offset of the foot 8 | magic 8 "TIERCKPE" |, and the file ends.
///         Each of them begins at a multiple of 4096, and so does the end: the file is written past the page
///         cache.
/// Units:  bytes; created in Unix milliseconds; little endian throughout.
public enum CheckpointFormat {
    public static let version: UInt32 = 1
    static let magic: UInt64 = 0x3150_4B43_5245_4954  // "TIERCKP1"
    static let endMagic: UInt64 = 0x4550_4B43_5245_4954  // "TIERCKPE"
    static let blockMagic: UInt32 = 0x4250_4B43  // "CKPB"
    static let footMagic: UInt32 = 0x4650_4B43  // "CKPF"
    static let headFixed = 64
    /// More than any head has, whatever its length says.
    static let headMax = 64 << 20
    static let blockHead = 24
    static let marker = 8
    static let tail = 16
    static let footFixed = 40
    static let row = 20
    static let count = 12
    /// What of an entry's flags is kept.
    static let keptFlags = ~(Entry.saved | Entry.saving | Entry.writing | Entry.external)

    /// Bytes to the next multiple of 4096.
    static func padded(_ count: Int) -> Int { (count + 4095) & ~4095 }

    /// Completes a block of `count` bytes whose items stand behind its head.
    static func seal(_ at: UnsafeMutableRawPointer, _ count: Int, items: Int, magic: UInt32 = blockMagic) {
        writeHead(at, count, items: items, magic: magic)
        at.storeBytes(of: csystem_crc32c(0, at + 8, count - 8), toByteOffset: 4, as: UInt32.self)
    }

    /// Writes a block's head but for the checksum.
    static func writeHead(
        _ at: UnsafeMutableRawPointer, _ count: Int, items: Int, magic: UInt32 = blockMagic
    ) {
        at.storeBytes(of: magic, as: UInt32.self)
        at.storeBytes(of: 0, toByteOffset: 4, as: UInt32.self)
        at.storeBytes(of: UInt64(count - blockHead), toByteOffset: 8, as: UInt64.self)
        at.storeBytes(of: UInt32(items), toByteOffset: 16, as: UInt32.self)
        at.storeBytes(of: 0, toByteOffset: 20, as: UInt32.self)
    }
}

/// What a checkpoint says of itself before its first key.
public struct CheckpointHead: Equatable, Sendable {
    public var identity: UInt64 = 0
    public var generation: UInt64 = 0
    public var hashSeed: UInt64 = 0
    /// Unix milliseconds.
    public var created: Int64 = 0
    public var databases = 0
    public var epoch = 0
    public var swaps: [Superblock.Swap] = []
    /// Sources of the libraries of functions.
    public var libraries: [[UInt8]] = []

    public init() {}

    var byteCount: Int {
        libraries.reduce(CheckpointFormat.headFixed + 4 * swaps.count + 4) { $0 + 4 + $1.count }
    }

    func encode(to target: UnsafeMutableRawPointer) {
        target.storeBytes(of: CheckpointFormat.magic, as: UInt64.self)
        target.storeBytes(of: CheckpointFormat.version, toByteOffset: 8, as: UInt32.self)
        target.storeBytes(of: UInt32(byteCount), toByteOffset: 12, as: UInt32.self)
        for (i, word) in [identity, generation, hashSeed, UInt64(bitPattern: created)].enumerated() {
            target.storeBytes(of: word, toByteOffset: 16 + 8 * i, as: UInt64.self)
        }
        for (i, word) in [databases, epoch, swaps.count, libraries.count].enumerated() {
            target.storeBytes(of: UInt32(word), toByteOffset: 48 + 4 * i, as: UInt32.self)
        }
        var at = target + CheckpointFormat.headFixed
        for swap in swaps {
            at.storeBytes(of: UInt16(swap.database), as: UInt16.self)
            at.storeBytes(of: UInt16(swap.tables), toByteOffset: 2, as: UInt16.self)
            at += 4
        }
        for library in libraries {
            at.storeBytes(of: UInt32(library.count), as: UInt32.self)
            library.withView { (at + 4).copyMemory(from: $0.base, byteCount: $0.count) }
            at += 4 + library.count
        }
        at.storeBytes(of: csystem_crc32c(0, target, at - target), as: UInt32.self)
    }

    /// Length of the head whose first 16 bytes these are.
    static func length(_ bytes: UnsafeRawPointer) throws(CheckpointError) -> Int {
        guard bytes.load(as: UInt64.self) == CheckpointFormat.magic
        else { throw CheckpointError(.notACheckpoint) }
        let format = bytes.load(fromByteOffset: 8, as: UInt32.self)
        guard format <= CheckpointFormat.version else { throw CheckpointError(.newerFormat(format)) }
        let count = Int(bytes.load(fromByteOffset: 12, as: UInt32.self))
        guard (CheckpointFormat.headFixed + 4...CheckpointFormat.headMax).contains(count)
        else { throw CheckpointError(.damagedHead) }
        return count
    }

    /// Reads a head of `count` bytes.
    init(decoding bytes: UnsafeRawPointer, _ count: Int) throws(CheckpointError) {
        let checksum = bytes.loadUnaligned(fromByteOffset: count - 4, as: UInt32.self)
        guard csystem_crc32c(0, bytes, count - 4) == checksum else { throw CheckpointError(.damagedHead) }
        identity = bytes.load(fromByteOffset: 16, as: UInt64.self)
        generation = bytes.load(fromByteOffset: 24, as: UInt64.self)
        hashSeed = bytes.load(fromByteOffset: 32, as: UInt64.self)
        created = bytes.load(fromByteOffset: 40, as: Int64.self)
        databases = Int(bytes.load(fromByteOffset: 48, as: UInt32.self))
        epoch = Int(bytes.load(fromByteOffset: 52, as: UInt32.self))
        let swapCount = Int(bytes.load(fromByteOffset: 56, as: UInt32.self))
        let libraryCount = Int(bytes.load(fromByteOffset: 60, as: UInt32.self))
        var at = CheckpointFormat.headFixed
        let end = count - 4
        guard swapCount <= (end - at) / 4 else { throw CheckpointError(.damagedHead) }
        for _ in 0..<swapCount {
            swaps.append(Superblock.Swap(
                database: Int(bytes.load(fromByteOffset: at, as: UInt16.self)),
                tables: Int(bytes.load(fromByteOffset: at + 2, as: UInt16.self))))
            at += 4
        }
        for _ in 0..<libraryCount {
            guard end - at >= 4 else { throw CheckpointError(.damagedHead) }
            let length = Int(bytes.loadUnaligned(fromByteOffset: at, as: UInt32.self))
            guard length <= end - at - 4 else { throw CheckpointError(.damagedHead) }
            libraries.append(ByteView(bytes + at + 4, length).array)
            at += 4 + length
        }
        guard at == end else { throw CheckpointError(.damagedHead) }
    }
}

/// What a checkpoint says behind its last key.
struct CheckpointFoot {
    struct Row: Equatable {
        var segment: Int
        var row: Superblock.SegmentRow
    }

    var keys = 0
    var addresses = 0
    var sequence: UInt64 = 0
    var segmentCount = 0
    /// Segments that hold something, or have.
    var rows: [Row] = []
    /// How many keys each set of tables has: the index gets its size before the first is put into it.
    var counts: [(tables: Int, keys: Int)] = []

    /// Bytes of the items; head, and what ends the file, not counted.
    var byteCount: Int {
        CheckpointFormat.footFixed + rows.count * CheckpointFormat.row + counts.count * CheckpointFormat.count
    }

    func encode(to target: UnsafeMutableRawPointer) {
        for (i, word) in [UInt64(keys), UInt64(addresses), sequence].enumerated() {
            target.storeBytes(of: word, toByteOffset: 8 * i, as: UInt64.self)
        }
        target.storeBytes(of: UInt32(rows.count), toByteOffset: 24, as: UInt32.self)
        target.storeBytes(of: UInt32(segmentCount), toByteOffset: 28, as: UInt32.self)
        target.storeBytes(of: UInt64(counts.count), toByteOffset: 32, as: UInt64.self)
        var at = target + CheckpointFormat.footFixed
        for row in rows {
            at.storeBytes(of: UInt32(row.segment), as: UInt32.self)
            row.row.encode(to: at + 4, last: row.row.filled)
            at += CheckpointFormat.row
        }
        for count in counts {
            at.storeBytes(of: UInt32(count.tables), as: UInt32.self)
            at.storeBytes(of: UInt64(count.keys), toByteOffset: 4, as: UInt64.self)
            at += CheckpointFormat.count
        }
    }

    /// Reads a foot of `count` bytes whose checksum holds; nil when it makes no sense.
    init?(decoding bytes: UnsafeRawPointer, _ count: Int) {
        guard count >= CheckpointFormat.footFixed,
            let keys = Int(exactly: bytes.load(as: UInt64.self)),
            let addresses = Int(exactly: bytes.load(fromByteOffset: 8, as: UInt64.self))
        else { return nil }
        self.keys = keys
        self.addresses = addresses
        sequence = bytes.load(fromByteOffset: 16, as: UInt64.self)
        let rowCount = Int(bytes.load(fromByteOffset: 24, as: UInt32.self))
        segmentCount = Int(bytes.load(fromByteOffset: 28, as: UInt32.self))
        let countCount = Int(bytes.load(fromByteOffset: 32, as: UInt32.self))
        let rowsEnd = CheckpointFormat.footFixed + rowCount * CheckpointFormat.row
        guard count == rowsEnd + countCount * CheckpointFormat.count, segmentCount <= Address.segmentLimit
        else { return nil }
        var last = -1
        for i in 0..<rowCount {
            let at = bytes + CheckpointFormat.footFixed + i * CheckpointFormat.row
            let segment = Int(at.load(as: UInt32.self))
            var filled = 0
            guard segment > last, segment < segmentCount,
                var row = Superblock.SegmentRow(decoding: at + 4, last: &filled)
            else { return nil }
            row.filled = filled
            rows.append(Row(segment: segment, row: row))
            last = segment
        }
        var left = keys
        for at in stride(from: rowsEnd, to: count, by: CheckpointFormat.count) {
            let keys = Int(clamping: bytes.loadUnaligned(fromByteOffset: at + 4, as: UInt64.self))
            counts.append((Int(bytes.load(fromByteOffset: at, as: UInt32.self)), keys))
            guard keys <= left else { return nil }
            left -= keys
        }
    }

    init() {}
}
