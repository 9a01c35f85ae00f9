import CSystem
import Primitives

/// A checkpoint read to its end without a store, for `tierctl verify`: head, every block, foot, and that
/// each address can be one of the tier file's. The values it has are not decoded.
public struct CheckpointCheck {
    public let head: CheckpointHead
    /// It is of the last server that used the tier file; else that file may have gone on.
    public let isCurrent: Bool
    public private(set) var keys = 0
    public private(set) var addresses = 0
    /// Of each segment: how far it is used, -1 if it is not; its version.
    private var used: [Int]
    private var versions: [UInt32]

    /// `read` as for `CheckpointLoad`; `isBase`: of the append-only file, whose segments are kept;
    /// `version`: of a segment, as its header in the tier file has it.
    /// Errors: what is wrong, and where.
    public init(
        byteCount: Int, _ tier: Superblock, isBase: Bool = false, version: (Int) -> UInt32?,
        read: CheckpointLoad.Read
    ) throws(CheckpointError) {
        let headCount: Int
        (head, headCount) = try CheckpointLoad.readHead(byteCount, read)
        guard head.identity == tier.identity, head.hashSeed == tier.hashSeed
        else { throw CheckpointError(.otherTierFile, at: 16) }
        isCurrent = head.generation == tier.generation
        let (foot, footAt) = try CheckpointLoad.readFoot(byteCount, read, from: headCount)
        used = [Int](repeating: -1, count: foot.segmentCount)
        versions = [UInt32](repeating: 0, count: foot.segmentCount)
        for row in foot.rows where row.row.state != .free {
            // Of one that was open nothing may have arrived: an address in it makes no sense then.
            let isThere = row.segment < tier.segmentCount && version(row.segment) == row.row.version
            if isBase, !isThere { continue }
            if isCurrent, !isThere {
                throw CheckpointError(.otherSegment(row.segment), at: footAt)
            }
            let isOpen = row.row.state == .open || row.row.used == 0
            used[row.segment] = isOpen ? tier.segmentSize : row.row.used
            versions[row.segment] = row.row.version
        }
        var at = headCount
        while at < footAt { at += try takeBlock(at, footAt, read) }
        guard at == footAt else { throw CheckpointError(.damagedBlock, at: footAt) }
        guard keys == foot.keys, addresses == foot.addresses
        else { throw CheckpointError(.wrongCount, at: footAt) }
    }

    /// Checks the block at `at`; its length with what fills it up.
    private mutating func takeBlock(
        _ at: Int, _ end: Int, _ read: CheckpointLoad.Read
    ) throws(CheckpointError) -> Int {
        let headCount = CheckpointFormat.blockHead
        guard end - at >= headCount else { throw CheckpointError(.damagedBlock, at: at) }
        let first = try CheckpointLoad.bytes(headCount, at: at, read)
        defer { first.deallocate() }
        guard first.load(as: UInt32.self) == CheckpointFormat.blockMagic,
            let length = Int(exactly: first.load(fromByteOffset: 8, as: UInt64.self)),
            length <= end - at - headCount
        else { throw CheckpointError(.damagedBlock, at: at) }
        let count = headCount + length
        let block = try CheckpointLoad.bytes(count, at: at, read)
        defer { block.deallocate() }
        guard csystem_crc32c(0, block + 8, count - 8) == block.load(fromByteOffset: 4, as: UInt32.self)
        else { throw CheckpointError(.damagedBlock, at: at) }
        let items = Int(block.load(fromByteOffset: 16, as: UInt32.self)), before = keys
        if let place = take(block + headCount, length) {
            throw CheckpointError(.damagedBlock, at: at + headCount + place)
        }
        guard keys - before == items else { throw CheckpointError(.damagedBlock, at: at) }
        return CheckpointFormat.padded(count)
    }

    /// Goes through items as `CheckpointPart` does; the offset of the first that makes no sense.
    private mutating func take(_ bytes: UnsafeMutableRawPointer, _ count: Int) -> Int? {
        var at = 0, hasTables = false
        while at < count {
            guard count - at >= CheckpointFormat.marker else { return at }
            let item = Entry(bytes + at)
            if item.flags == 0 {
                let tables = Int((bytes + at).load(fromByteOffset: 4, as: UInt32.self))
                guard tables < head.databases else { return at }
                hasTables = true
                at += CheckpointFormat.marker
                continue
            }
            guard hasTables, let size = size(item, available: count - at) else { return at }
            keys += 1
            at = (at + size + 3) & ~3
        }
        return nil
    }

    /// Length of an item; nil if it makes no sense.
    private mutating func size(_ item: Entry, available: Int) -> Int? {
        guard available >= Entry.headerSize, item.flags & ~CheckpointFormat.keptFlags == 0,
            ValueType(rawValue: UInt8(item.flags & 15)) != nil
        else { return nil }
        let fixed = item.keyOffset
        guard available >= fixed else { return nil }
        let keyCount = item.keyCount
        guard keyCount <= available - fixed else { return nil }
        let prefix = fixed + keyCount
        if item.isResident {
            guard item.address.raw <= UInt64(available - prefix) else { return nil }
            return prefix + Int(item.address.raw)
        }
        let address = item.address
        guard address.segment < used.count, address.offset >= SegmentHeader.size,
            address.offset + Record.headerSize <= used[address.segment],
            versions[address.segment] & 0x3ff == address.version
        else { return nil }
        addresses += 1
        return prefix
    }
}
