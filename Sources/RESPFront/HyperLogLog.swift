import Glibc
import Primitives

/// Redis 7.0's HyperLogLog: a string that estimates how many different elements were added to it.
///
/// Shape: 16 bytes of header ("HYLL", encoding, three unused, eight of the last estimate, little-endian,
/// whose highest bit says that it is out of date), then 16384 registers. Dense: six bits each, from the
/// lowest bit up. Sparse: runs, one byte `00nnnnnn` (n+1 zeroes), two bytes `01nnnnnn nnnnnnnn` (n+1
/// zeroes), one byte `1vvvvvnn` (n+1 times v+1).
/// Errors: bytes come from clients (SET); whatever they hold, nothing here reads outside of them.
/// Source: Flajolet et al., AOFA '07; Ertl, "New cardinality estimation algorithms for HyperLogLog
/// sketches", arXiv:1702.01284.
enum HyperLogLog {
    static let header = 16
    static let registers = 16384
    static let denseSize = header + registers * 6 / 8
    /// Largest value of a register in a sparse run.
    static let sparseMax: UInt8 = 32

    struct Corrupt: Error {}

    enum Encoding: UInt8 { case dense = 0, sparse = 1 }

    /// The encoding, or nil for a string that is no HyperLogLog.
    static func encoding(_ bytes: ByteView) -> Encoding? {
        guard bytes.count >= header, bytes[0..<4] == ByteView("HYLL"),
            let encoding = Encoding(rawValue: bytes[4]), encoding == .sparse || bytes.count == denseSize
        else { return nil }
        return encoding
    }

    /// One without elements.
    static var empty: [UInt8] {
        Array("HYLL".utf8) + [Encoding.sparse.rawValue] + [UInt8](repeating: 0, count: 11)
            + Run.zeroes(registers).bytes
    }

    // MARK: Elements

    /// Which register an element belongs to, and what it raises it to.
    static func place(_ element: ByteView) -> (register: Int, value: UInt8) {
        let hash = hash(element)
        // A bit above the 50 that are looked at ends the count.
        let rest = hash >> 14 | 1 << 50
        return (Int(hash & 16383), UInt8(rest.trailingZeroBitCount + 1))
    }

    /// MurmurHash64A (Austin Appleby, public domain) with Redis's seed.
    private static func hash(_ bytes: ByteView) -> UInt64 {
        let m: UInt64 = 0xc6a4_a793_5bd1_e995
        var h: UInt64 = 0xadc8_3b19 ^ UInt64(bytes.count) &* m
        var at = 0
        while at + 8 <= bytes.count {
            var k = word(bytes, at, 8) &* m
            k ^= k >> 47
            h = (h ^ k &* m) &* m
            at += 8
        }
        if at < bytes.count { h = (h ^ word(bytes, at, bytes.count - at)) &* m }
        h = (h ^ h >> 47) &* m
        return h ^ h >> 47
    }

    private static func word(_ bytes: ByteView, _ at: Int, _ count: Int) -> UInt64 {
        var word: UInt64 = 0
        for i in 0..<count { word |= UInt64(bytes[at + i]) << UInt64(8 * i) }
        return word
    }

    // MARK: Registers

    /// A dense register.
    static func register(_ bytes: ByteView, _ i: Int) -> UInt8 {
        let at = header + i * 6 / 8, shift = i * 6 & 7
        let low = bytes[at] >> UInt8(shift)
        return (shift > 2 ? low | bytes[at + 1] << UInt8(8 - shift) : low) & 63
    }

    /// Sets a dense register through `read` and `write` of single bytes.
    @inline(__always)
    static func setRegister(
        _ i: Int, _ value: UInt8, read: (Int) -> UInt8, write: (Int, UInt8) -> Void
    ) {
        let at = header + i * 6 / 8, shift = UInt8(i * 6 & 7)
        write(at, read(at) & ~(63 << shift) | value << shift)
        if shift > 2 { write(at + 1, read(at + 1) & ~(63 >> (8 - shift)) | value >> (8 - shift)) }
    }

    static func setRegister(_ bytes: inout [UInt8], _ i: Int, _ value: UInt8) {
        bytes.withUnsafeMutableBytes { out in
            setRegister(i, value, read: { out[$0] }, write: { out[$0] = $1 })
        }
    }

    /// Calls `body` with each run of equal registers: first, length, value. False if the runs of a
    /// sparse string do not cover the registers exactly; no run reaches beyond them.
    static func forEachRun(_ bytes: ByteView, _ body: (Int, Int, UInt8) -> Void) -> Bool {
        if encoding(bytes) == .dense {
            for i in 0..<registers { body(i, 1, register(bytes, i)) }
            return true
        }
        var at = header, first = 0
        while at < bytes.count {
            let run = Run(bytes, at)
            if first + run.length > registers { return false }
            body(first, run.length, run.value)
            first += run.length
            at += run.size
        }
        return first == registers
    }

    /// A sparse string as a dense one; what the header says stays.
    static func dense(_ bytes: [UInt8]) throws(Corrupt) -> [UInt8] {
        var result = Array(bytes[..<header]) + [UInt8](repeating: 0, count: denseSize - header)
        result[4] = Encoding.dense.rawValue
        let isSound = bytes.withView { view in
            forEachRun(view) { first, length, value in
                if value > 0 { for i in first..<first + length { setRegister(&result, i, value) } }
            }
        }
        if !isSound { throw Corrupt() }
        return result
    }

    // MARK: The estimate

    /// The last estimate, or nil when it is out of date.
    static func cached(_ bytes: ByteView) -> UInt64? {
        bytes[15] & 0x80 == 0 ? word(bytes, 8, 8) : nil
    }

    /// The estimate of these registers' values: how many have each value.
    static func estimate(_ histogram: [Int]) -> UInt64 {
        let m = Double(registers)
        var z = m * tau((m - Double(histogram[51])) / m)
        for value in stride(from: 50, through: 1, by: -1) { z = (z + Double(histogram[value])) * 0.5 }
        z += m * sigma(Double(histogram[0]) / m)
        let found = (0.721347520444481703680 * m * m / z).rounded(.toNearestOrAwayFromZero)
        // What a conversion of infinity gives on x86-64, and so in Redis.
        return UInt64(exactly: found) ?? 1 << 63
    }

    static func estimate(_ bytes: ByteView) throws(Corrupt) -> UInt64 {
        var histogram = [Int](repeating: 0, count: 64)
        guard forEachRun(bytes, { histogram[Int($2)] += $1 }) else { throw Corrupt() }
        return estimate(histogram)
    }

    private static func tau(_ start: Double) -> Double {
        if start == 0 || start == 1 { return 0 }
        var x = start, y = 1.0, z = 1 - x, before: Double
        repeat {
            x = x.squareRoot()
            before = z
            y *= 0.5
            z -= pow(1 - x, 2) * y
        } while before != z
        return z / 3
    }

    private static func sigma(_ start: Double) -> Double {
        if start == 1 { return .infinity }
        var x = start, y = 1.0, z = x, before: Double
        repeat {
            x *= x
            before = z
            z += x * y
            y += y
        } while before != z
        return z
    }
}

/// A run of equal registers in a sparse HyperLogLog.
struct Run {
    var length: Int
    /// 0 for a run of zeroes.
    var value: UInt8
    /// Bytes it takes.
    var size: Int

    /// The run at `at`; a second byte that is not there counts as 0.
    init(_ bytes: ByteView, _ at: Int) {
        self.init(bytes[at], at + 1 < bytes.count ? bytes[at + 1] : 0)
    }

    init(_ first: UInt8, _ second: UInt8) {
        switch first >> 6 {
        case 0: (length, value, size) = (Int(first & 63) + 1, 0, 1)
        case 1: (length, value, size) = (Int(first & 63) << 8 + Int(second) + 1, 0, 2)
        default: (length, value, size) = (Int(first & 3) + 1, first >> 2 & 31 + 1, 1)
        }
    }

    private init(length: Int, value: UInt8, size: Int) {
        (self.length, self.value, self.size) = (length, value, size)
    }

    static func zeroes(_ length: Int) -> Run { Run(length: length, value: 0, size: length > 64 ? 2 : 1) }
    static func of(_ value: UInt8, _ length: Int) -> Run { Run(length: length, value: value, size: 1) }

    var bytes: [UInt8] {
        let n = length - 1
        if value > 0 { return [0x80 | (value - 1) << 2 | UInt8(n)] }
        return size == 1 ? [UInt8(n)] : [0x40 | UInt8(n >> 8), UInt8(n & 255)]
    }
}

/// Raising registers of a HyperLogLog that is held as an array.
extension HyperLogLog {
    /// Raises a register to at least `value`. Returns whether it changed. A sparse string that would
    /// grow over `limit` bytes becomes dense.
    static func raise(
        _ bytes: inout [UInt8], _ register: Int, to value: UInt8, limit: Int
    ) throws(Corrupt) -> Bool {
        if bytes[4] == Encoding.dense.rawValue {
            if bytes.withView({ self.register($0, register) }) >= value { return false }
            setRegister(&bytes, register, value)
            return true
        }
        if value > sparseMax { return try promote(&bytes, register, value) }
        guard let found = find(bytes, register) else { throw Corrupt() }
        let run = found.run
        if run.value >= value { return false }
        var runs: [Run] = []
        let before = register - found.first, after = found.first + run.length - 1 - register
        let part = { (length: Int) in run.value == 0 ? Run.zeroes(length) : Run.of(run.value, length) }
        if before > 0 { runs.append(part(before)) }
        runs.append(.of(value, 1))
        if after > 0 { runs.append(part(after)) }
        let new = runs.flatMap(\.bytes)
        if new.count > run.size, bytes.count + new.count - run.size > limit {
            return try promote(&bytes, register, value)
        }
        bytes.replaceSubrange(found.at..<found.at + run.size, with: new)
        merge(&bytes, from: found.previous ?? header)
        bytes[15] |= 0x80
        return true
    }

    private static func promote(
        _ bytes: inout [UInt8], _ register: Int, _ value: UInt8
    ) throws(Corrupt) -> Bool {
        bytes = try dense(bytes)
        if bytes.withView({ self.register($0, register) }) >= value { return false }
        setRegister(&bytes, register, value)
        return true
    }

    /// The run that covers a register, where it is, its first register, and the run before it; nil for
    /// one whose second byte is not there (Redis 7.0 takes what lies behind the string).
    private static func find(
        _ bytes: [UInt8], _ register: Int
    ) -> (run: Run, at: Int, first: Int, previous: Int?)? {
        bytes.withView { view in
            var at = header, first = 0, previous: Int?
            while at < view.count {
                let run = Run(view, at)
                guard at + run.size <= view.count else { return nil }
                if register < first + run.length { return (run, at, first, previous) }
                previous = at
                at += run.size
                first += run.length
            }
            return nil
        }
    }

    /// Joins runs of the same value next to each other, looking at five runs, as Redis does: so that
    /// the bytes are the same as Redis's.
    private static func merge(_ bytes: inout [UInt8], from start: Int) {
        var at = start
        for _ in 0..<5 where at < bytes.count {
            let run = Run(bytes[at], at + 1 < bytes.count ? bytes[at + 1] : 0)
            if run.value > 0, at + 1 < bytes.count, bytes[at + 1] & 0x80 != 0 {
                let next = Run(bytes[at + 1], 0)
                if next.value == run.value, next.length + run.length <= 4 {
                    bytes[at + 1] = Run.of(run.value, run.length + next.length).bytes[0]
                    bytes.remove(at: at)
                    continue
                }
            }
            at += run.size
        }
    }
}
