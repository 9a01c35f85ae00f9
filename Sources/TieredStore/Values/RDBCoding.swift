import Glibc
import Primitives

/// Type bytes of values in Redis's RDB format.
/// Source: Redis 7.0 rdb.h; 20 to 25 of Redis 7.2 and 7.4.
public enum RDBType {
    public static let string: UInt8 = 0
    public static let list: UInt8 = 1
    public static let set: UInt8 = 2
    public static let sortedSetText: UInt8 = 3
    public static let hash: UInt8 = 4
    public static let sortedSet: UInt8 = 5
    /// What a module wrote; where it ends only the module knows.
    public static let module: UInt8 = 6
    /// What a module wrote, in parts that anybody can tell apart.
    public static let module2: UInt8 = 7
    public static let hashZipmap: UInt8 = 9
    public static let listZiplist: UInt8 = 10
    public static let setIntset: UInt8 = 11
    public static let sortedSetZiplist: UInt8 = 12
    public static let hashZiplist: UInt8 = 13
    public static let listZiplists: UInt8 = 14
    public static let stream1: UInt8 = 15
    public static let hashListpack: UInt8 = 16
    public static let sortedSetListpack: UInt8 = 17
    public static let listQuicklist: UInt8 = 18
    public static let stream2: UInt8 = 19
    public static let setListpack: UInt8 = 20
    public static let stream3: UInt8 = 21
    /// Of the release candidates of Redis 7.4: the first expiry does not come before the fields.
    public static let hashMetadataEarly: UInt8 = 22
    public static let hashListpackExpiringEarly: UInt8 = 23
    public static let hashMetadata: UInt8 = 24
    public static let hashListpackExpiring: UInt8 = 25
}

/// Writes RDB lengths and strings one after the other; the target has room.
struct RDBWriter {
    var at: UnsafeMutableRawPointer

    init(_ at: UnsafeMutableRawPointer) { self.at = at }

    static func lengthBytes(_ n: Int) -> Int { n < 1 << 6 ? 1 : n < 1 << 14 ? 2 : n <= 0xffff_ffff ? 5 : 9 }
    static func stringBytes(_ n: Int) -> Int { lengthBytes(n) + n }

    mutating func byte(_ value: UInt8) {
        at.storeBytes(of: value, as: UInt8.self)
        at += 1
    }

    mutating func length(_ n: Int) {
        if n < 1 << 6 {
            byte(UInt8(n))
        } else if n < 1 << 14 {
            byte(0x40 | UInt8(n >> 8))
            byte(UInt8(n & 0xff))
        } else if n <= 0xffff_ffff {
            byte(0x80)
            at.storeBytes(of: UInt32(n).bigEndian, as: UInt32.self)
            at += 4
        } else {
            byte(0x81)
            at.storeBytes(of: UInt64(n).bigEndian, as: UInt64.self)
            at += 8
        }
    }

    mutating func raw(_ bytes: ByteView) {
        at.copyMemory(from: bytes.base, byteCount: bytes.count)
        at += bytes.count
    }

    mutating func string(_ bytes: ByteView) {
        length(bytes.count)
        raw(bytes)
    }

    mutating func int64(_ value: Int64) {
        at.storeBytes(of: value, as: Int64.self)
        at += 8
    }

    mutating func double(_ value: Double) { int64(Int64(bitPattern: value.bitPattern)) }
}

/// Reads RDB lengths and strings from bytes that nobody vouches for.
struct RDBReader: ~Copyable {
    /// Bytes a string has at most: an element of a list counts its own in 32 bits.
    static let stringBytesMax = 1 << 32 - 1 << 20

    private var at: UnsafeRawPointer
    private let end: UnsafeRawPointer
    /// Something was cut off or made no sense; everything read since is void.
    private(set) var failed = false
    private var scratch: UnsafeMutableRawPointer?

    init(_ bytes: ByteView) {
        at = bytes.base
        end = bytes.base + bytes.count
    }

    deinit { Glibc.free(scratch) }

    var remaining: Int { end - at }

    private mutating func take(_ n: Int) -> UnsafeRawPointer? {
        guard !failed, n >= 0, n <= remaining else {
            failed = true
            return nil
        }
        at += n
        return at - n
    }

    mutating func fail() { failed = true }
    mutating func byte() -> UInt8 { take(1)?.load(as: UInt8.self) ?? 0 }
    mutating func bytes(_ n: Int) -> ByteView { take(n).map { ByteView($0, n) } ?? .empty }
    mutating func int64() -> Int64 { take(8)?.loadUnaligned(as: Int64.self) ?? 0 }
    mutating func double() -> Double { Double(bitPattern: UInt64(bitPattern: int64())) }

    private enum Length { case plain(Int), encoded(Int) }

    private mutating func anyLength() -> Length {
        let first = byte()
        switch first >> 6 {
        case 0: return .plain(Int(first & 63))
        case 1: return .plain(Int(first & 63) << 8 | Int(byte()))
        case 3: return .encoded(Int(first & 63))
        default:
            if first == 0x80 {
                return .plain(Int((take(4)?.loadUnaligned(as: UInt32.self) ?? 0).bigEndian))
            }
            if first == 0x81, let long = take(8)?.loadUnaligned(as: UInt64.self).bigEndian, long < 1 << 48 {
                return .plain(Int(long))
            }
            failed = true
            return .plain(0)
        }
    }

    mutating func streamID() -> StreamID {
        guard let p = take(16) else { return .zero }
        return StreamID(key: ByteView(p, 16))
    }

    /// A length that uses all 64 bits.
    mutating func unsigned() -> UInt64 {
        if remaining > 0, at.load(as: UInt8.self) == 0x81 {
            at += 1
            return take(8)?.loadUnaligned(as: UInt64.self).bigEndian ?? 0
        }
        return UInt64(length())
    }

    mutating func length() -> Int {
        if case .plain(let n) = anyLength() { return n }
        failed = true
        return 0
    }

    /// A count of things of at least `least` bytes each: one that cannot be true fails.
    mutating func count(least: Int) -> Int {
        let n = length()
        if n > remaining / least { failed = true }
        return failed ? 0 : n
    }

    /// The next string, lent until the next one is read; empty once something has failed.
    mutating func string() -> ByteView {
        switch anyLength() {
        case .plain(let n):
            guard n <= RDBReader.stringBytesMax, let p = take(n) else {
                failed = true
                return .empty
            }
            return ByteView(p, n)
        case .encoded(0): return digits(Int64(Int8(bitPattern: byte())))
        case .encoded(1): return digits(Int64(take(2)?.loadUnaligned(as: Int16.self) ?? 0))
        case .encoded(2): return digits(Int64(take(4)?.loadUnaligned(as: Int32.self) ?? 0))
        case .encoded(3): return compressed()
        case .encoded:
            failed = true
            return .empty
        }
    }

    private mutating func makeScratch(_ n: Int) -> UnsafeMutableRawPointer? {
        Glibc.free(scratch)
        scratch = malloc(max(1, n))
        return scratch
    }

    private mutating func digits(_ value: Int64) -> ByteView {
        guard !failed, let p = makeScratch(Decimal.integerBytesMax) else { return .empty }
        return ByteView(UnsafeRawPointer(p), Decimal.write(value, to: p))
    }

    private mutating func compressed() -> ByteView {
        let packed = length(), n = length()
        // LZF gives at most 264 bytes for three.
        guard let from = take(packed), n <= min(packed * 100, RDBReader.stringBytesMax),
            let p = makeScratch(n), LZF.decompress(ByteView(from, packed), p, n)
        else {
            failed = true
            return .empty
        }
        return ByteView(UnsafeRawPointer(p), n)
    }
}

/// The compression of strings in RDB files. Only reading: what we write is not compressed.
/// Source: the LZF format as liblzf (Marc Lehmann) defines it.
enum LZF {
    /// Decompresses to exactly `count` bytes; false when the input does not give that.
    static func decompress(_ input: ByteView, _ output: UnsafeMutableRawPointer, _ count: Int) -> Bool {
        var i = 0, o = 0
        while i < input.count {
            let control = Int(input[i])
            i += 1
            if control < 32 {
                let n = control + 1
                guard i + n <= input.count, o + n <= count else { return false }
                (output + o).copyMemory(from: input.base + i, byteCount: n)
                i += n
                o += n
                continue
            }
            var n = control >> 5
            if n == 7 {
                guard i < input.count else { return false }
                n += Int(input[i])
                i += 1
            }
            guard i < input.count else { return false }
            let distance = ((control & 31) << 8) + Int(input[i]) + 1
            i += 1
            n += 2
            guard distance <= o, o + n <= count else { return false }
            // May overlap: byte by byte.
            for _ in 0..<n {
                let byte = output.load(fromByteOffset: o - distance, as: UInt8.self)
                output.storeBytes(of: byte, toByteOffset: o, as: UInt8.self)
                o += 1
            }
        }
        return o == count
    }
}
