import CSystem
import Glibc
import Primitives

/// One element of a collection, lent: bytes, or an integer that is written as its decimal digits.
public enum Element {
    case bytes(ByteView)
    case integer(Int64)

    /// Lends the element as bytes.
    @inlinable @inline(__always)
    public func withBytes<R>(_ body: (ByteView) -> R) -> R {
        switch self {
        case .bytes(let view): return body(view)
        case .integer(let value):
            return withUnsafeTemporaryAllocation(byteCount: Decimal.integerBytesMax, alignment: 8) {
                let count = Decimal.write(value, to: $0.baseAddress!)
                return body(ByteView(UnsafeRawPointer($0.baseAddress!), count))
            }
        }
    }

    /// Bytes it has when written out.
    public var count: Int {
        switch self {
        case .bytes(let view): view.count
        case .integer(let value): Decimal.digitCount(value.magnitude) + (value < 0 ? 1 : 0)
        }
    }

    public func equals(_ other: Element) -> Bool {
        switch other {
        case .bytes(let view): equals(view)
        case .integer(let value): integer == value
        }
    }

    public func equals(_ other: ByteView) -> Bool {
        switch self {
        case .bytes(let view): view == other
        case .integer(let value): Decimal.int64(other) == value
        }
    }

    /// The integer it is or is written as, or nil.
    public var integer: Int64? {
        switch self {
        case .bytes(let view): Decimal.int64(view)
        case .integer(let value): value
        }
    }

    public var array: [UInt8] { withBytes { $0.array } }
}

/// Elements in a row: the entries of a listpack, without its header and end.
///
/// Shape:  entry = | encoding and data | length of these, readable from behind, 7 bits a byte |.
///         Text that is an integer is kept as one; integers of 7 bits take one byte.
/// Source: the listpack specification (antirez, 2017); Redis 7.0 listpack.c reads the same bytes.
enum Packed {
    static let end: UInt8 = 0xff

    // MARK: Reading

    /// The element at `p` and the bytes it takes. The bytes are trusted.
    @inline(__always)
    static func read(_ p: UnsafeRawPointer) -> (element: Element, size: Int) {
        let first = p.load(as: UInt8.self)
        if first < 0x80 { return (.integer(Int64(first)), 2) }
        if first < 0xc0 {
            let count = Int(first & 0x3f)
            return (.bytes(ByteView(p + 1, count)), 1 + count + 1)
        }
        return readLong(p, first)
    }

    private static func readLong(_ p: UnsafeRawPointer, _ first: UInt8) -> (element: Element, size: Int) {
        func byte(_ i: Int) -> Int64 { Int64(p.load(fromByteOffset: i, as: UInt8.self)) }
        switch first {
        case 0xc0...0xdf:
            let raw = Int64(first & 0x1f) << 8 | byte(1)
            return (.integer(raw >= 4096 ? raw - 8192 : raw), 3)
        case 0xe0...0xef:
            let count = Int(first & 0x0f) << 8 | Int(byte(1))
            return (.bytes(ByteView(p + 2, count)), 2 + count + backBytes(2 + count))
        case 0xf0:
            let count = Int(p.loadUnaligned(fromByteOffset: 1, as: UInt32.self))
            return (.bytes(ByteView(p + 5, count)), 5 + count + backBytes(5 + count))
        case 0xf1: return (.integer(Int64(p.loadUnaligned(fromByteOffset: 1, as: Int16.self))), 4)
        case 0xf2:
            let low = byte(1) | byte(2) << 8
            let high = Int64(p.load(fromByteOffset: 3, as: Int8.self))
            return (.integer(high << 16 | low), 5)
        case 0xf3: return (.integer(Int64(p.loadUnaligned(fromByteOffset: 1, as: Int32.self))), 6)
        default: return (.integer(p.loadUnaligned(fromByteOffset: 1, as: Int64.self)), 10)
        }
    }

    /// Where the element before `p` begins.
    static func previous(_ p: UnsafeRawPointer) -> UnsafeRawPointer {
        var at = p - 1, size = 0, shift = 0
        while true {
            let byte = Int(at.load(as: UInt8.self))
            size |= (byte & 127) << shift
            if byte < 128 { break }
            shift += 7
            at -= 1
        }
        return at - size
    }

    private static func backBytes(_ size: Int) -> Int {
        size < 1 << 7 ? 1 : size < 1 << 14 ? 2 : size < 1 << 21 ? 3 : size < 1 << 28 ? 4 : 5
    }

    // MARK: Writing

    /// Bytes an element takes.
    static func size(_ bytes: ByteView) -> Int {
        if let integer = Decimal.int64(bytes) { return size(integer) }
        let count = bytes.count
        let head = count < 64 ? 1 + count : count < 4096 ? 2 + count : 5 + count
        return head + backBytes(head)
    }

    static func size(_ element: Element) -> Int {
        switch element {
        case .bytes(let view): size(view)
        case .integer(let value): size(value)
        }
    }

    static func size(_ value: Int64) -> Int {
        switch value {
        case 0...127: 2
        case -4096...4095: 3
        case -32768...32767: 4
        case -8_388_608...8_388_607: 5
        case -2_147_483_648...2_147_483_647: 6
        default: 10
        }
    }

    /// Writes an element; returns its size.
    @discardableResult
    static func write(_ bytes: ByteView, _ p: UnsafeMutableRawPointer) -> Int {
        if let integer = Decimal.int64(bytes) { return write(integer, p) }
        let count = bytes.count
        var head: Int
        if count < 64 {
            p.storeBytes(of: 0x80 | UInt8(count), as: UInt8.self)
            head = 1
        } else if count < 4096 {
            p.storeBytes(of: 0xe0 | UInt8(count >> 8), as: UInt8.self)
            p.storeBytes(of: UInt8(count & 0xff), toByteOffset: 1, as: UInt8.self)
            head = 2
        } else {
            p.storeBytes(of: 0xf0, as: UInt8.self)
            p.storeBytes(of: UInt32(count), toByteOffset: 1, as: UInt32.self)
            head = 5
        }
        (p + head).copyMemory(from: bytes.base, byteCount: count)
        head += count
        return head + writeBack(head, p + head)
    }

    @discardableResult
    static func write(_ value: Int64, _ p: UnsafeMutableRawPointer) -> Int {
        let size = size(value)
        switch size {
        case 2: p.storeBytes(of: UInt8(value), as: UInt8.self)
        case 3:
            let raw = UInt16(truncatingIfNeeded: value) & 0x1fff
            p.storeBytes(of: 0xc0 | UInt8(raw >> 8), as: UInt8.self)
            p.storeBytes(of: UInt8(raw & 0xff), toByteOffset: 1, as: UInt8.self)
        default:
            let codes: InlineArray<11, UInt8> = [0, 0, 0, 0, 0xf1, 0xf2, 0xf3, 0, 0, 0, 0xf4]
            p.storeBytes(of: codes[size], as: UInt8.self)
            var rest = value
            for i in 1..<size - 1 {
                p.storeBytes(of: UInt8(truncatingIfNeeded: rest), toByteOffset: i, as: UInt8.self)
                rest >>= 8
            }
        }
        p.storeBytes(of: UInt8(size - 1), toByteOffset: size - 1, as: UInt8.self)
        return size
    }

    private static func writeBack(_ size: Int, _ p: UnsafeMutableRawPointer) -> Int {
        let bytes = backBytes(size)
        for i in 0..<bytes {
            let part = UInt8(size >> (7 * (bytes - 1 - i)) & 127)
            p.storeBytes(of: i == 0 ? part : part | 128, toByteOffset: i, as: UInt8.self)
        }
        return bytes
    }

    // MARK: Checking

    /// Bytes the element at `p` takes, at least 2, if it is sound and ends before `limit`; else nil.
    static func checkedSize(_ p: UnsafeRawPointer, limit: UnsafeRawPointer) -> Int? {
        let room = limit - p
        guard room >= 2 else { return nil }
        let first = p.load(as: UInt8.self)
        let head = first < 0x80 ? 1 : first < 0xc0 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 2
            : first == 0xf0 ? 5 : first == 0xf1 ? 3 : first == 0xf2 ? 4 : first == 0xf3 ? 5
            : first == 0xf4 ? 9 : 0
        guard head > 0, head < room else { return nil }
        var size = head
        switch first {
        case 0x80...0xbf: size += Int(first & 0x3f)
        case 0xe0...0xef: size += Int(first & 0x0f) << 8 | Int(p.load(fromByteOffset: 1, as: UInt8.self))
        case 0xf0: size += Int(p.loadUnaligned(fromByteOffset: 1, as: UInt32.self))
        default: break
        }
        let back = backBytes(size)
        guard size + back <= room else { return nil }
        var read = 0
        for i in 0..<back {
            let byte = Int(p.load(fromByteOffset: size + i, as: UInt8.self))
            guard (byte & 128 != 0) == (i > 0) else { return nil }
            read = read << 7 | byte & 127
        }
        return read == size ? size + back : nil
    }
}

/// A small hash, list, sorted set or set as it lies in its entry: a listpack without what the length of the
/// value tells already.
///
/// Shape:  | elements 2, 65535: not known | entries … |
struct FlatList {
    static let headerSize = 2
    static let emptySize = 2
    let bytes: ByteView

    init(_ bytes: ByteView) { self.bytes = bytes }

    var count: Int {
        let known = bytes.base.loadUnaligned(as: UInt16.self)
        if known != .max { return Int(known) }
        var count = 0
        forEach { _, _, _ in
            count += 1
            return true
        }
        return count
    }

    /// Offset behind the last entry.
    var endOffset: Int { bytes.count }

    func isEnd(_ offset: Int) -> Bool { offset >= bytes.count }

    @inline(__always)
    func read(_ offset: Int) -> (element: Element, size: Int) { Packed.read(bytes.base + offset) }

    /// Offset of the entry before `offset`.
    func previous(_ offset: Int) -> Int { Packed.previous(bytes.base + offset) - bytes.base }

    /// Visits elements from `offset` on with their place; stops when `visit` returns false.
    @inline(__always)
    func forEach(from offset: Int = headerSize, _ visit: (Element, _ offset: Int, _ size: Int) -> Bool) {
        var at = offset
        while !isEnd(at) {
            let (element, size) = read(at)
            if !visit(element, at, size) { return }
            at += size
        }
    }

    /// Whether these bytes are a sound list, of a multiple of `step` elements.
    static func check(_ bytes: ByteView, step: Int) -> Bool {
        guard bytes.count >= headerSize else { return false }
        let limit = bytes.base + bytes.count
        var at = bytes.base + headerSize, count = 0
        while at < limit {
            guard let size = Packed.checkedSize(at, limit: limit) else { return false }
            at += size
            count += 1
        }
        let known = Int(bytes.base.loadUnaligned(as: UInt16.self))
        return count > 0 && count % step == 0 && (known == 65535 || known == count)
    }

    /// Offset of element `index`, negative ones from the end; nil when there is none.
    func offset(of index: Int) -> Int? {
        let count = count
        let wanted = index < 0 ? index + count : index
        guard wanted >= 0, wanted < count else { return nil }
        if wanted < count / 2 {
            var at = FlatList.headerSize
            for _ in 0..<wanted { at += read(at).size }
            return at
        }
        var at = endOffset
        for _ in wanted..<count { at = previous(at) }
        return at
    }

    /// Offset of the first element at a multiple of `step` that is `wanted`.
    func find(_ wanted: ByteView, step: Int) -> Int? {
        let integer = Decimal.int64(wanted)
        var at = FlatList.headerSize
        while !isEnd(at) {
            let (element, size) = read(at)
            switch element {
            case .bytes(let view): if integer == nil, view == wanted { return at }
            case .integer(let value): if value == integer { return at }
            }
            at += size
            for _ in 1..<step where !isEnd(at) { at += read(at).size }
        }
        return nil
    }

    static func seal(_ p: UnsafeMutableRawPointer, count: Int) {
        p.storeBytes(of: UInt16(min(count, 65535)), as: UInt16.self)
    }

    /// Bytes of the same list as a listpack, and its writing.
    var listpackBytes: Int { bytes.count + Listpack.emptySize - FlatList.emptySize }

    func writeListpack(_ writer: inout RDBWriter) {
        let start = writer.at
        writer.at += 4
        writer.raw(bytes)
        writer.byte(Packed.end)
        start.storeBytes(of: UInt32(listpackBytes), as: UInt32.self)
    }
}

/// A listpack, the packed list of RDB files.
///
/// Shape:  | bytes 4 | elements 2, 65535: not known | entries … | 0xff |
struct Listpack {
    static let headerSize = 6
    static let emptySize = 7
    let bytes: ByteView

    init(_ bytes: ByteView) { self.bytes = bytes }

    /// The same list without its frame.
    var flat: FlatList { FlatList(bytes[4..<bytes.count - 1]) }

    func isEnd(_ offset: Int) -> Bool { offset >= bytes.count - 1 }

    @inline(__always)
    func read(_ offset: Int) -> (element: Element, size: Int) { Packed.read(bytes.base + offset) }

    /// Writes the header and end of a listpack of `bytes` in all and `count` elements.
    static func seal(_ p: UnsafeMutableRawPointer, bytes: Int, count: Int) {
        p.storeBytes(of: UInt32(bytes), as: UInt32.self)
        p.storeBytes(of: UInt16(min(count, 65535)), toByteOffset: 4, as: UInt16.self)
        p.storeBytes(of: Packed.end, toByteOffset: bytes - 1, as: UInt8.self)
    }

    /// Whether these bytes are a sound listpack; its number of elements.
    static func check(_ bytes: ByteView) -> Int? {
        guard bytes.count >= emptySize, bytes[bytes.count - 1] == Packed.end,
            Int(bytes.base.loadUnaligned(as: UInt32.self)) == bytes.count
        else { return nil }
        let limit = bytes.base + (bytes.count - 1)
        var at = bytes.base + headerSize, count = 0
        while at < limit {
            guard let size = Packed.checkedSize(at, limit: limit) else { return nil }
            at += size
            count += 1
        }
        let known = Int(bytes.base.loadUnaligned(fromByteOffset: 4, as: UInt16.self))
        return known == 65535 || known == count ? count : nil
    }
}

/// A set of integers in order, as it lies in its entry.
///
/// Shape:  | bytes an integer: 2, 4 or 8 | count 4 | integers, ascending, little endian |; both 4 bytes.
/// Source: Redis 7.0 intset.c.
struct Intset {
    static let headerSize = 8
    let bytes: ByteView

    init(_ bytes: ByteView) { self.bytes = bytes }

    var width: Int { Int(bytes.base.loadUnaligned(as: UInt32.self)) }
    var count: Int { Int(bytes.base.loadUnaligned(fromByteOffset: 4, as: UInt32.self)) }

    @inline(__always)
    func value(_ index: Int) -> Int64 {
        let at = bytes.base + Intset.headerSize + index * width
        switch width {
        case 2: return Int64(at.loadUnaligned(as: Int16.self))
        case 4: return Int64(at.loadUnaligned(as: Int32.self))
        default: return at.loadUnaligned(as: Int64.self)
        }
    }

    static func width(_ value: Int64) -> Int {
        Int64(Int16(truncatingIfNeeded: value)) == value ? 2
            : Int64(Int32(truncatingIfNeeded: value)) == value ? 4 : 8
    }

    /// Where `value` is or belongs.
    func find(_ value: Int64) -> (index: Int, found: Bool) {
        var low = 0, high = count
        while low < high {
            let middle = (low + high) >> 1
            if self.value(middle) < value { low = middle + 1 } else { high = middle }
        }
        return (low, low < count && self.value(low) == value)
    }

    static func write(_ value: Int64, width: Int, _ p: UnsafeMutableRawPointer) {
        switch width {
        case 2: p.storeBytes(of: Int16(truncatingIfNeeded: value), as: Int16.self)
        case 4: p.storeBytes(of: Int32(truncatingIfNeeded: value), as: Int32.self)
        default: p.storeBytes(of: value, as: Int64.self)
        }
    }

    static func seal(_ p: UnsafeMutableRawPointer, width: Int, count: Int) {
        p.storeBytes(of: UInt32(width), as: UInt32.self)
        p.storeBytes(of: UInt32(count), toByteOffset: 4, as: UInt32.self)
    }

    /// Whether these bytes are a sound set of integers.
    static func check(_ bytes: ByteView) -> Bool {
        guard bytes.count >= headerSize else { return false }
        let set = Intset(bytes)
        guard [2, 4, 8].contains(set.width), set.count > 0,
            bytes.count == headerSize + set.count * set.width
        else { return false }
        for i in 1..<max(1, set.count) where set.value(i - 1) >= set.value(i) { return false }
        return true
    }
}
