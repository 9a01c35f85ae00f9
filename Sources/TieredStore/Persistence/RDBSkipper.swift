import Primitives

/// Finds where an item of an RDB file ends, without decoding it, from bytes that arrive bit by bit.
///
/// How an item is made up is a list of steps; the skipper knows its place among them and how often a loop
/// has still to be gone through, so that no byte is looked at twice. The text of a string is passed over
/// whether it has arrived or not.
/// Cost:   some 20 ns a string or number, whatever its length (Benchmarks: rdbread).
struct RDBSkipper {
    enum Step: UInt8 {
        case number, string, score, byte, bytes4, bytes8, bytes16
        /// A count, and so many times the steps up to `next`.
        case each, next
        /// Parts of a module's data, each with a code before it, up to code 0.
        case parts
        case end
    }

    enum Progress: Equatable { case more, done, failed(RDBFileError.Reason) }

    private struct Loop {
        let start: Int
        var left: UInt64
    }

    private let steps: [Step]
    private var place = 0
    private var loops: [Loop] = []
    /// Bytes passed over; it may lie behind what has arrived.
    private(set) var offset = 0

    /// `code`: an opcode or type byte, of which what stands behind it is passed over. `hasChecksum`: the end
    /// of the file has one. Nil for what is not known.
    init?(code: UInt8, hasChecksum: Bool) {
        if code == RDBOpcode.end {
            steps = hasChecksum ? [.bytes8, .end] : [.end]
            return
        }
        let known = RDBSkipper.known[Int(code)]
        if known.isEmpty { return nil }
        steps = known
    }

    // MARK: What is known

    /// Steps of each code.
    private static let known: [[Step]] = (0..<256).map { code in
        if let steps = itemSteps(UInt8(code)) { return steps + [.end] }
        if let steps = valueSteps(UInt8(code)) { return [.string] + steps + [.end] }
        return []
    }

    private static func itemSteps(_ opcode: UInt8) -> [Step]? {
        switch opcode {
        case RDBOpcode.slotInfo: [.number, .number, .number]
        case RDBOpcode.function2: [.string]
        case RDBOpcode.moduleAuxiliary: [.number, .number, .number, .parts]
        case RDBOpcode.idle: [.number]
        case RDBOpcode.frequency: [.byte]
        case RDBOpcode.auxiliary: [.string, .string]
        case RDBOpcode.sizes: [.number, .number]
        case RDBOpcode.expiryMilliseconds: [.bytes8]
        case RDBOpcode.expirySeconds: [.bytes4]
        case RDBOpcode.database: [.number]
        default: nil
        }
    }

    /// What a value of a type is made up of.
    /// Source: Redis 7.0 and 7.4 rdb.c, rdbSaveObject and rdbLoadObject.
    private static func valueSteps(_ type: UInt8) -> [Step]? {
        switch type {
        case RDBType.string, RDBType.hashZipmap, RDBType.listZiplist, RDBType.setIntset,
            RDBType.sortedSetZiplist, RDBType.hashZiplist, RDBType.hashListpack, RDBType.sortedSetListpack,
            RDBType.setListpack, RDBType.hashListpackExpiringEarly:
            [.string]
        case RDBType.list, RDBType.set, RDBType.listZiplists: [.each, .string, .next]
        case RDBType.hash: [.each, .string, .string, .next]
        case RDBType.sortedSetText: [.each, .string, .score, .next]
        case RDBType.sortedSet: [.each, .string, .bytes8, .next]
        // Of a value of type 6 only the module's name can be read.
        case RDBType.module: [.number]
        case RDBType.module2: [.number, .parts]
        case RDBType.listQuicklist: [.each, .number, .string, .next]
        case RDBType.stream1: streamSteps(1)
        case RDBType.stream2: streamSteps(2)
        case RDBType.stream3: streamSteps(3)
        case RDBType.hashMetadataEarly: [.each, .number, .string, .string, .next]
        case RDBType.hashMetadata: [.bytes8, .each, .number, .string, .string, .next]
        case RDBType.hashListpackExpiring: [.bytes8, .string]
        default: nil
        }
    }

    private static func streamSteps(_ version: Int) -> [Step] {
        // Length, last ID; from version 2 on the first and the largest deleted ID, and entries ever added.
        let facts = [Step](repeating: .number, count: version == 1 ? 3 : 8)
        // A group's name, last ID and, from version 2 on, the entries it has read.
        let group: [Step] = [.string] + [Step](repeating: .number, count: version == 1 ? 2 : 3)
        let pending: [Step] = [.each, .bytes16, .bytes8, .number, .next]
        let times: [Step] = version == 3 ? [.bytes8, .bytes8] : [.bytes8]
        let consumers: [Step] = [.each, .string] + times + [.each, .bytes16, .next, .next]
        return [.each, .string, .string, .next] + facts + [.each] + group + pending + consumers + [.next]
    }

    // MARK: Going on

    /// Goes as far as it can. `bytes` are all that have arrived of the item, the same each time and more.
    mutating func advance(_ bytes: ByteView) -> Progress {
        while true {
            let step = steps[place]
            if step == .next {
                turn()
                continue
            }
            if step == .end { return offset <= bytes.count ? .done : .more }
            guard offset < bytes.count else { return .more }
            let progress: Progress
            switch step {
            case .number: progress = skipNumber(bytes)
            case .string: progress = skipString(bytes, at: offset)
            case .score: progress = skip(bytes[offset] >= 253 ? 1 : 1 + Int(bytes[offset]))
            case .byte: progress = skip(1)
            case .bytes4: progress = skip(4)
            case .bytes8: progress = skip(8)
            case .bytes16: progress = skip(16)
            case .each:
                progress = beginLoop(bytes)
                if progress == .done { continue }
            default: progress = skipParts(bytes)
            }
            guard progress == .done else { return progress }
            place += 1
        }
    }

    private mutating func skip(_ n: Int) -> Progress {
        offset += n
        return .done
    }

    /// The end of a loop's steps: once more, or on behind them.
    private mutating func turn() {
        loops[loops.count - 1].left -= 1
        if loops[loops.count - 1].left > 0 {
            place = loops[loops.count - 1].start
        } else {
            loops.removeLast()
            place += 1
        }
    }

    private mutating func beginLoop(_ bytes: ByteView) -> Progress {
        guard case .plain(let count, let size) = RDBSkipper.number(bytes, offset) else {
            return RDBSkipper.lacking(bytes, offset)
        }
        offset += size
        place += 1
        if count > 0 {
            loops.append(Loop(start: place, left: count))
            return .done
        }
        var depth = 1
        while depth > 0 {
            if steps[place] == .each { depth += 1 }
            if steps[place] == .next { depth -= 1 }
            place += 1
        }
        return .done
    }

    private mutating func skipNumber(_ bytes: ByteView) -> Progress {
        guard case .plain(_, let size) = RDBSkipper.number(bytes, offset) else {
            return RDBSkipper.lacking(bytes, offset)
        }
        return skip(size)
    }

    /// Passes over a string at `at`, and what is before it.
    private mutating func skipString(_ bytes: ByteView, at: Int) -> Progress {
        let most = UInt64(RDBReader.stringBytesMax)
        switch RDBSkipper.number(bytes, at) {
        case .none, .impossible: return RDBSkipper.lacking(bytes, at)
        case .plain(let count, let size):
            if count > most { return .failed(.stringTooLong) }
            offset = at + size + Int(count)
        case .encoded(let kind) where kind < 3: offset = at + 1 + 1 << Int(kind)
        case .encoded(3):
            guard case .plain(let packed, let size) = RDBSkipper.number(bytes, at + 1) else {
                return RDBSkipper.lacking(bytes, at + 1)
            }
            guard case .plain(let count, let rest) = RDBSkipper.number(bytes, at + 1 + size) else {
                return RDBSkipper.lacking(bytes, at + 1 + size)
            }
            if packed > most || count > most { return .failed(.stringTooLong) }
            offset = at + 1 + size + rest + Int(packed)
        case .encoded: return .failed(.badString)
        }
        return .done
    }

    /// Source: Redis 7.0 rdb.c, rdbLoadCheckModuleValue.
    private mutating func skipParts(_ bytes: ByteView) -> Progress {
        while true {
            guard case .plain(let code, let size) = RDBSkipper.number(bytes, offset) else {
                return RDBSkipper.lacking(bytes, offset)
            }
            let at = offset + size
            switch code {
            case 0: return skip(size)
            case 1, 2:
                guard case .plain(_, let rest) = RDBSkipper.number(bytes, at) else {
                    return RDBSkipper.lacking(bytes, at)
                }
                offset = at + rest
            case 3: offset = at + 4
            case 4: offset = at + 8
            case 5:
                let progress = skipString(bytes, at: at)
                if progress != .done { return progress }
            default: return .failed(.badModuleData)
            }
        }
    }

    // MARK: Numbers

    private enum Number {
        /// Not all of it has arrived.
        case none
        case impossible
        case plain(UInt64, size: Int)
        case encoded(UInt8)
    }

    @inline(__always)
    private static func number(_ bytes: ByteView, _ at: Int) -> Number {
        guard at < bytes.count else { return .none }
        let first = bytes[at]
        switch first >> 6 {
        case 0: return .plain(UInt64(first), size: 1)
        case 1:
            if at + 1 >= bytes.count { return .none }
            return .plain(UInt64(first & 63) << 8 | UInt64(bytes[at + 1]), size: 2)
        case 3: return .encoded(first & 63)
        default:
            let size = first == 0x80 ? 5 : 9
            if first > 0x81 { return .impossible }
            if at + size > bytes.count { return .none }
            let p = bytes.base + at + 1
            return size == 5
                ? .plain(UInt64(p.loadUnaligned(as: UInt32.self).bigEndian), size: size)
                : .plain(p.loadUnaligned(as: UInt64.self).bigEndian, size: size)
        }
    }

    /// Why there is no number to go on with.
    private static func lacking(_ bytes: ByteView, _ at: Int) -> Progress {
        if case .none = number(bytes, at) { return .more }
        return .failed(.badNumber)
    }
}
