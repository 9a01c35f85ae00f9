import Glibc
import Primitives

/// Some successive entries of a stream, packed: what Redis calls a node.
///
/// Shape:  | number of fields | fields … | entry | entry | … |, numbers as LEB128. Entry: | flags 1:
///         1 deleted, 2 same fields as the block's | milliseconds since the entry before | sequence,
///         since the entry before if in the same millisecond | values …, or number of pairs and pairs |.
///         Text: | bytes << 1 | bytes |; an integer: | 2 × its bytes + 1 | low bytes |.
/// Why:    half of what Redis's listpack of the same entries takes, which repeats lengths and counts.
///         Blocks end where Redis's nodes end, so that XTRIM with ~ leaves as many entries as there.
struct StreamBlock {
    var cell: CellHeap.Reference = 0
    private var capacityWord: UInt32 = 0
    private var usedWord: UInt32 = 0
    private var packedWord: UInt32 = 0
    var first: StreamID
    /// Of the last entry, deleted or not.
    var last: StreamID
    private var countWord: UInt32 = 0
    private var deletedWord: UInt32 = 0

    init(first: StreamID) {
        self.first = first
        last = first
    }

    var capacity: Int {
        get { Int(capacityWord) }
        set { capacityWord = UInt32(newValue) }
    }
    var used: Int {
        get { Int(usedWord) }
        set { usedWord = UInt32(newValue) }
    }
    /// Bytes of the block's entries in Redis's listpack, without the first three numbers.
    var packedBytes: Int {
        get { Int(packedWord) }
        set { packedWord = UInt32(newValue) }
    }
    /// Entries that are there, and entries marked as deleted.
    var count: Int {
        get { Int(countWord) }
        set { countWord = UInt32(newValue) }
    }
    var deleted: Int {
        get { Int(deletedWord) }
        set { deletedWord = UInt32(newValue) }
    }

    static let isDeleted: UInt8 = 1
    static let sameFields: UInt8 = 2

    /// Bytes of the block as a listpack.
    var listpackBytes: Int {
        Listpack.emptySize + packedBytes + Packed.size(Int64(count)) + Packed.size(Int64(deleted))
    }
}

/// Numbers and texts of a block.
enum StreamCoding {
    static func lengthBytes(_ value: UInt64) -> Int { max(1, (64 - value.leadingZeroBitCount + 6) / 7) }

    @inline(__always)
    static func read(_ p: inout UnsafeRawPointer) -> UInt64 {
        var byte = UInt64(p.load(as: UInt8.self))
        p += 1
        if byte < 128 { return byte }
        var value = byte & 127, shift: UInt64 = 7
        repeat {
            byte = UInt64(p.load(as: UInt8.self))
            p += 1
            value |= (byte & 127) << shift
            shift += 7
        } while byte >= 128
        return value
    }

    static func write(_ value: UInt64, _ p: inout UnsafeMutableRawPointer) {
        var rest = value
        while rest >= 128 {
            p.storeBytes(of: UInt8(truncatingIfNeeded: rest | 128), as: UInt8.self)
            p += 1
            rest >>= 7
        }
        p.storeBytes(of: UInt8(rest), as: UInt8.self)
        p += 1
    }

    private static func width(_ value: Int64) -> Int {
        let bits = 65 - (value < 0 ? ~value : value).leadingZeroBitCount
        return (bits + 7) / 8
    }

    /// An element whose text is an integer is one.
    private static func integer(_ element: Element) -> Int64? {
        switch element {
        case .integer(let value): value
        case .bytes(let text): Decimal.int64(text)
        }
    }

    static func size(_ element: Element) -> Int {
        if let integer = integer(element) { return 1 + width(integer) }
        return lengthBytes(UInt64(element.count) << 1) + element.count
    }

    static func write(_ element: Element, _ p: inout UnsafeMutableRawPointer) {
        if let integer = integer(element) {
            let n = width(integer)
            write(UInt64(2 * n + 1), &p)
            var rest = integer
            for _ in 0..<n {
                p.storeBytes(of: UInt8(truncatingIfNeeded: rest), as: UInt8.self)
                rest >>= 8
                p += 1
            }
            return
        }
        guard case .bytes(let text) = element else { return }
        write(UInt64(text.count) << 1, &p)
        p.copyMemory(from: text.base, byteCount: text.count)
        p += text.count
    }

    @inline(__always)
    static func readText(_ p: inout UnsafeRawPointer) -> Element {
        let head = Int(read(&p))
        if head & 1 == 0 {
            let view = ByteView(p, head >> 1)
            p += head >> 1
            return .bytes(view)
        }
        let n = head >> 1
        var value: Int64 = 0
        for i in 0..<n { value |= Int64(p.load(fromByteOffset: i, as: UInt8.self)) << Int64(8 * i) }
        p += n
        let spare = Int64(64 - 8 * n)
        return .integer((value << spare) >> spare)
    }
}

/// An entry of a stream, lent until the stream is changed.
public struct StreamEntry {
    public let id: StreamID
    /// Pairs of field and value.
    public let count: Int
    /// The block's fields, if the entry has the same.
    private let fields: UnsafeRawPointer?
    private let values: UnsafeRawPointer
    let isDeleted: Bool

    /// Reads the entry at `p`, which goes to the next one.
    init(_ p: inout UnsafeRawPointer, after previous: StreamID, fields: UnsafeRawPointer, fieldCount: Int) {
        let flags = p.load(as: UInt8.self)
        p += 1
        let elapsed = StreamCoding.read(&p), number = StreamCoding.read(&p)
        id = elapsed == 0
            ? StreamID(previous.milliseconds, previous.sequence &+ number)
            : StreamID(previous.milliseconds &+ elapsed, number)
        isDeleted = flags & StreamBlock.isDeleted != 0
        if flags & StreamBlock.sameFields != 0 {
            count = fieldCount
            self.fields = fields
            values = p
            for _ in 0..<fieldCount { _ = StreamCoding.readText(&p) }
        } else {
            count = Int(StreamCoding.read(&p))
            self.fields = nil
            values = p
            for _ in 0..<2 * count { _ = StreamCoding.readText(&p) }
        }
    }

    var hasBlocksFields: Bool { fields != nil }

    /// Visits fields and values.
    @inline(__always)
    public func forEach(_ visit: (Element, Element) -> Void) {
        var value = values
        if var field = fields {
            for _ in 0..<count { visit(StreamCoding.readText(&field), StreamCoding.readText(&value)) }
        } else {
            for _ in 0..<count {
                let field = StreamCoding.readText(&value)
                visit(field, StreamCoding.readText(&value))
            }
        }
    }
}
