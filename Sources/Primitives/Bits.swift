/// Bits of byte strings, numbered as Redis does: bit 0 is the highest bit of byte 0.
///
/// Cost: eight bytes a step.
extension ByteView {
    /// The eight bytes from `offset` on, in memory order; the caller has checked that they are there.
    @inline(__always)
    private func word(_ offset: Int) -> UInt64 {
        base.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
    }

    /// How many of the bits `first` to `last`, both included, are set.
    public func bitCount(_ first: Int, _ last: Int) -> Int {
        precondition(first >= 0 && last < count * 8, "bit range out of bounds")
        if first > last { return 0 }
        let firstByte = first >> 3, lastByte = last >> 3
        let head = UInt8(0xff) >> UInt8(first & 7)
        let tail = UInt8(truncatingIfNeeded: 0xff00 >> ((last & 7) + 1))
        if firstByte == lastByte { return (self[firstByte] & head & tail).nonzeroBitCount }
        var total = (self[firstByte] & head).nonzeroBitCount + (self[lastByte] & tail).nonzeroBitCount
        var at = firstByte + 1
        while at + 8 <= lastByte {
            total += word(at).nonzeroBitCount
            at += 8
        }
        while at < lastByte {
            total += self[at].nonzeroBitCount
            at += 1
        }
        return total
    }

    /// The first bit from `first` to `last`, both included, that is set (or clear), or nil.
    public func firstBit(_ isSet: Bool, _ first: Int, _ last: Int) -> Int? {
        precondition(first >= 0 && last < count * 8, "bit range out of bounds")
        if first > last { return nil }
        let flip: UInt8 = isSet ? 0 : 0xff
        let flipWord: UInt64 = isSet ? 0 : .max
        var at = first >> 3
        let lastByte = last >> 3
        var byte = (self[at] ^ flip) & (0xff >> UInt8(first & 7))
        while byte == 0 {
            at += 1
            while at + 8 <= lastByte, word(at) == flipWord { at += 8 }
            if at > lastByte { return nil }
            byte = self[at] ^ flip
        }
        let bit = at * 8 + byte.leadingZeroBitCount
        return bit <= last ? bit : nil
    }

    /// The `bits` bits (64 at most) from bit `offset` on as a number; zeroes beyond the end.
    public func bitField(_ offset: Int, bits: Int) -> UInt64 {
        var value: UInt64 = 0
        var at = offset >> 3
        var mask: UInt64 = 0xff >> UInt64(offset & 7)
        var left = UInt64(bits + (offset & 7))
        while left > 0 {
            let byte = at < count ? UInt64(self[at]) & mask : 0
            value = left >= 8 ? value << 8 | byte : value << left | byte >> (8 - left)
            left -= min(left, 8)
            mask = 0xff
            at += 1
        }
        return value
    }
}

/// How BITOP puts strings together.
public enum BitOperation: Sendable { case and, or, xor, not }

extension BitOperation {
    /// The strings put together, as long as the longest; the shorter count as filled up with zeroes.
    public func combine(_ sources: [ByteView]) -> [UInt8] {
        let length = sources.map(\.count).max() ?? 0
        return [UInt8](unsafeUninitializedCapacity: length) { out, initialized in
            out.initialize(repeating: 0)
            initialized = length
            guard let first = sources.first, length > 0 else { return }
            let target = UnsafeMutableRawBufferPointer(out)
            UnsafeMutableRawBufferPointer(rebasing: target[..<first.count]).copyMemory(from: first.buffer)
            if self == .not { return BitOperation.invert(target) }
            for source in sources.dropFirst() { fold(source, into: target) }
        }
    }

    private static func invert(_ target: UnsafeMutableRawBufferPointer) {
        for i in 0..<target.count { target[i] = ~target[i] }
    }

    private func fold(_ source: ByteView, into target: UnsafeMutableRawBufferPointer) {
        let common = source.count, base = target.baseAddress!
        var at = 0
        while at + 8 <= common {
            let a = base.loadUnaligned(fromByteOffset: at, as: UInt64.self)
            let b = source.base.loadUnaligned(fromByteOffset: at, as: UInt64.self)
            base.storeBytes(of: apply(a, b), toByteOffset: at, as: UInt64.self)
            at += 8
        }
        while at < common {
            target[at] = apply(target[at], source[at])
            at += 1
        }
        if self == .and { for i in common..<target.count { target[i] = 0 } }
    }

    @inline(__always)
    private func apply<T: FixedWidthInteger>(_ a: T, _ b: T) -> T {
        switch self {
        case .and: a & b
        case .or: a | b
        case .xor: a ^ b
        case .not: ~a
        }
    }
}
