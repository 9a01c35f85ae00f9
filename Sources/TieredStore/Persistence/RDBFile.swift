import Glibc
import Primitives

/// Reads an RDB file of any length from pieces of it, item by item.
///
/// The caller fills `room` and says with `added` how much came, or `feed`s bytes it has; `next` gives what
/// has arrived whole, or nil when it wants more. What is lent lives until the file is asked for anything
/// else. Nothing is allocated because a length says so: the buffer grows, by doubling, with what has arrived.
///
/// Shape:  | "REDIS" | version, 4 digits | item … | 255 | CRC64 of all before, 8 |; the last from version 5
///         on, and 0 if it was not taken.
///         item = | opcode | what belongs to it | or | type | key | value |.
/// Errors: `RDBFileError`; the same again on each later call. What came before it was sound.
/// Source: Redis 7.0 rdb.c, rdbLoadRioWithLoadingCtx.
public final class RDBFile {
    /// The newest version read: Redis 7.4's.
    public static let versionMax = 12

    /// What becomes of values of modules, which nothing here understands.
    public enum Modules: Sendable { case refused, skipped }

    /// A key with its value as it stands in the file.
    public struct Entry {
        public let database: Int
        public let key: ByteView
        /// An `RDBType`, never a module's.
        public let type: UInt8
        /// The value's RDB encoding. Where it ends has been found out; whether it makes sense has not.
        public let encoding: ByteView
        /// Unix milliseconds, which may be long over.
        public let expiry: Int64?
        /// Where in the file the key stands.
        public let offset: Int
    }

    public enum Event {
        case version(Int)
        case auxiliary(key: ByteView, value: ByteView)
        case database(Int)
        /// How many keys the database has, and how many of them expire: for making room, not to be relied on.
        case sizes(keys: UInt64, expiring: UInt64)
        case entry(Entry)
        /// The text of a library of functions.
        case library(ByteView)
        /// Data of a module that is passed over: of a key, or of none.
        case skipped(module: String, key: ByteView?)
        /// The file is whole. What came behind it is in `rest`.
        case end
    }

    /// A buffer up to this size is kept when little of it is needed.
    private static let keptBytes = 4 << 20

    private enum Stage { case header, code, item, ended }
    private enum Outcome { case event(Event), again, starved }

    private let modules: Modules
    private let checks: Bool
    private let valueBytesMax: Int
    private var stage = Stage.header
    private var failure: RDBFileError?
    private var hasEnded = false

    private var memory: UnsafeMutableRawPointer
    private var capacity: Int
    /// Where in the buffer the item that is read begins, and where what has arrived ends.
    private var start = 0
    private var end = 0
    /// Bytes of the item given last; they are lent.
    private var lent = 0
    /// Bytes of the file before the buffer.
    private var base = 0
    /// Bytes of the buffer that are in the checksum.
    private var summed = 0
    private var checksum: UInt64 = 0

    private var version = 0
    private var skipper: RDBSkipper?
    private var database = 0
    private var expiry: Int64?
    private var first = RDBReader(.empty)
    private var second = RDBReader(.empty)

    /// `checks`: the checksum is compared. `valueBytesMax`: bytes an item may have.
    public init(modules: Modules = .refused, checks: Bool = true, valueBytesMax: Int = .max) {
        self.modules = modules
        self.checks = checks
        self.valueBytesMax = valueBytesMax
        capacity = 4096
        memory = .allocate(byteCount: capacity, alignment: 16)
    }

    deinit { memory.deallocate() }

    /// Bytes of the file that are done with.
    public var offset: Int { base + start }

    /// Where in the file what was given last ends.
    public var eventEnd: Int { base + start + lent }

    /// What has arrived behind the end of the file.
    public var rest: ByteView {
        stage == .ended ? ByteView(UnsafeRawPointer(memory + start + lent), end - start - lent) : .empty
    }

    // MARK: Input

    /// Where the caller puts what comes next: at least `least` bytes.
    public func room(_ least: Int) -> UnsafeMutableRawBufferPointer {
        settle()
        let needed = end - start + least
        let isLoose = capacity > RDBFile.keptBytes && capacity / 8 > needed
        if capacity - end < least || isLoose { makeRoom(needed, isLoose) }
        return UnsafeMutableRawBufferPointer(start: memory + end, count: capacity - end)
    }

    /// So many bytes were put into `room`.
    public func added(_ count: Int) {
        precondition(count >= 0 && count <= capacity - end, "more than there was room for")
        end += count
    }

    public func feed(_ bytes: ByteView) {
        room(bytes.count).baseAddress!.copyMemory(from: bytes.base, byteCount: bytes.count)
        added(bytes.count)
    }

    /// No more comes.
    public func finish() { hasEnded = true }

    /// The item given last is done with.
    private func settle() {
        start += lent
        lent = 0
    }

    /// Moves what is not yet read to the front, and into a larger or, when a long value is over, a smaller
    /// buffer.
    private func makeRoom(_ needed: Int, _ isLoose: Bool) {
        sum(to: start)
        let unread = end - start
        if capacity < needed || isLoose {
            capacity = max(needed, 2 * unread)
            let fresh = UnsafeMutableRawPointer.allocate(byteCount: capacity, alignment: 16)
            fresh.copyMemory(from: memory + start, byteCount: unread)
            memory.deallocate()
            memory = fresh
        } else {
            memmove(memory, memory + start, unread)
        }
        base += start
        start = 0
        end = unread
        summed = 0
    }

    /// Takes the bytes of the buffer before `place` into the checksum.
    private func sum(to place: Int) {
        if checks, version >= 5, stage != .ended {
            let bytes = ByteView(UnsafeRawPointer(memory + summed), place - summed)
            checksum = CRC64.checksum(bytes, after: checksum)
        }
        summed = place
    }

    // MARK: Output

    /// The next item; nil when more input is wanted, or after the end.
    public func next() throws(RDBFileError) -> Event? {
        settle()
        if let failure { throw failure }
        do throws(RDBFileError) {
            while true {
                switch try advance() {
                case .event(let event): return event
                case .again: settle()
                case .starved:
                    if hasEnded, stage != .ended { throw refused(.cutOff, at: end - start) }
                    return nil
                }
            }
        } catch {
            failure = error
            throw error
        }
    }

    /// What has arrived behind `start + skipped`.
    private func unread(_ skipped: Int) -> ByteView {
        ByteView(UnsafeRawPointer(memory + start + skipped), end - start - skipped)
    }

    private func refused(_ reason: RDBFileError.Reason, at place: Int = 0) -> RDBFileError {
        RDBFileError(reason: reason, offset: base + start + place)
    }

    private func advance() throws(RDBFileError) -> Outcome {
        switch stage {
        case .header: return try readHeader()
        case .code:
            guard end > start else { return .starved }
            let code = unread(0)[0]
            if code == RDBOpcode.functionEarly { throw refused(.earlyFunction) }
            skipper = RDBSkipper(code: code, hasChecksum: version >= 5)
            if skipper == nil { throw refused(.unknownCode(code)) }
            stage = .item
            return .again
        case .item:
            let code = unread(0)[0], bytes = unread(1)
            let progress = skipper!.advance(bytes)
            let size = skipper!.offset
            if case .failed(let reason) = progress { throw refused(reason, at: 1 + size) }
            if size > valueBytesMax { throw refused(.valueTooLong) }
            guard progress == .done else { return .starved }
            stage = .code
            lent = 1 + size
            return try read(code, bytes[0..<size])
        case .ended: return .starved
        }
    }

    /// The signature and the version. Fewer bytes that cannot become it are refused at once.
    private func readHeader() throws(RDBFileError) -> Outcome {
        let bytes = unread(0), signature = ByteView("REDIS")
        let known = min(bytes.count, signature.count)
        guard bytes[0..<known] == signature[0..<known] else { throw refused(.notAnRDBFile) }
        guard bytes.count >= 9 else { return .starved }
        for i in 5..<9 {
            guard bytes[i] >= 48, bytes[i] <= 57 else { throw refused(.notAnRDBFile) }
            version = version * 10 + Int(bytes[i] - 48)
        }
        guard version >= 1, version <= RDBFile.versionMax else { throw refused(.unknownVersion(version)) }
        stage = .code
        lent = 9
        return .event(.version(version))
    }

    /// Makes an event of an item that is there whole.
    private func read(_ code: UInt8, _ bytes: ByteView) throws(RDBFileError) -> Outcome {
        first = RDBReader(bytes)
        switch code {
        case RDBOpcode.end: return try readEnd(bytes)
        case RDBOpcode.slotInfo, RDBOpcode.idle, RDBOpcode.frequency: return .again
        case RDBOpcode.function2: return .event(.library(try string(0)))
        case RDBOpcode.moduleAuxiliary:
            return .event(.skipped(module: RDBFile.moduleName(first.unsigned()), key: nil))
        case RDBOpcode.auxiliary:
            let key = try string(0)
            second = RDBReader(bytes[bytes.count - first.remaining..<bytes.count])
            let value = second.string()
            if second.failed { throw refused(.badString) }
            return .event(.auxiliary(key: key, value: value))
        case RDBOpcode.sizes: return .event(.sizes(keys: first.unsigned(), expiring: first.unsigned()))
        case RDBOpcode.expiryMilliseconds: expiry = first.int64()
        case RDBOpcode.expirySeconds:
            expiry = Int64(bytes.base.loadUnaligned(as: Int32.self)) * 1000
        case RDBOpcode.database:
            guard let number = Int32(exactly: first.unsigned()) else { throw refused(.badNumber) }
            database = Int(number)
            return .event(.database(database))
        default: return try readEntry(code, bytes)
        }
        return .again
    }

    private func string(_ place: Int) throws(RDBFileError) -> ByteView {
        let text = first.string()
        if first.failed { throw refused(.badString, at: place) }
        return text
    }

    private func readEntry(_ type: UInt8, _ bytes: ByteView) throws(RDBFileError) -> Outcome {
        let key = try string(1)
        if type == RDBType.module || type == RDBType.module2 {
            let name = RDBFile.moduleName(first.unsigned())
            if type == RDBType.module || modules == .refused { throw refused(.module(name)) }
            expiry = nil
            return .event(.skipped(module: name, key: key))
        }
        let entry = Entry(
            database: database, key: key, type: type,
            encoding: bytes[bytes.count - first.remaining..<bytes.count], expiry: expiry,
            offset: base + start)
        expiry = nil
        return .event(.entry(entry))
    }

    private func readEnd(_ bytes: ByteView) throws(RDBFileError) -> Outcome {
        sum(to: start + 1)
        if version >= 5, checks {
            let stored = bytes.base.loadUnaligned(as: UInt64.self).littleEndian
            guard stored == 0 || stored == checksum else {
                throw refused(.wrongChecksum(stored: stored, computed: checksum))
            }
        }
        stage = .ended
        return .event(.end)
    }

    /// The name that is in a module type's number: nine characters of six bits each.
    /// Source: Redis 7.0 module.c, moduleTypeNameByID.
    static func moduleName(_ number: UInt64) -> String {
        let characters = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
        return String((0..<9).map { characters[Int(number >> UInt64(58 - 6 * $0) & 63)] })
    }
}
