import Glibc

/// What a key's value must be: bytes that follow from key and size, and do not compress.
enum Content {
    static func fill(_ target: UnsafeMutableRawPointer, key: Int, size: Int) {
        var word = UInt64(key) &* 0xD6E8_FEB8_6659_FD93 | 1
        var at = 0
        while at + 8 <= size {
            step(&word)
            target.storeBytes(of: word, toByteOffset: at, as: UInt64.self)
            at += 8
        }
        while at < size {
            let byte = UInt8(truncatingIfNeeded: word >> UInt64((at & 7) * 8))
            target.storeBytes(of: byte, toByteOffset: at, as: UInt8.self)
            at += 1
        }
    }

    static func matches(_ bytes: UnsafeRawPointer, key: Int, size: Int) -> Bool {
        var word = UInt64(key) &* 0xD6E8_FEB8_6659_FD93 | 1
        var at = 0, difference: UInt64 = 0
        while at + 8 <= size {
            step(&word)
            difference |= word ^ bytes.loadUnaligned(fromByteOffset: at, as: UInt64.self)
            at += 8
        }
        while at < size {
            let wanted = UInt8(truncatingIfNeeded: word >> UInt64((at & 7) * 8))
            difference |= UInt64(wanted ^ bytes.load(fromByteOffset: at, as: UInt8.self))
            at += 1
        }
        return difference == 0
    }

    /// Xorshift (Marsaglia, 2003).
    private static func step(_ word: inout UInt64) {
        word ^= word << 13
        word ^= word >> 7
        word ^= word << 17
    }
}

/// How long the value of a key is. It follows from the key, so that whoever reads the value knows it.
enum ValueSize: Sendable {
    case fixed(Int)
    case uniform(ClosedRange<Int>)
    /// Median and sigma of the logarithm, cut off at `most`.
    case lognormal(median: Double, sigma: Double)
    /// Sizes, and the sum of the shares up to each.
    case mixed([(size: Int, upTo: Double)])

    static let most = 16 << 20

    /// "500", "100-1000", "lognormal:500:1.2", "100:0.7,4000:0.3".
    init?(_ text: String) {
        if let size = Int(text) {
            guard (1...ValueSize.most).contains(size) else { return nil }
            self = .fixed(size)
        } else if text.hasPrefix("lognormal:") {
            let parts = text.split(separator: ":")
            guard parts.count == 3, let median = Double(parts[1]), let sigma = Double(parts[2]),
                median >= 1, sigma >= 0
            else { return nil }
            self = .lognormal(median: median, sigma: sigma)
        } else if text.contains(":") {
            var sum = 0.0, sizes: [(size: Int, upTo: Double)] = []
            for part in text.split(separator: ",") {
                let pair = part.split(separator: ":")
                guard pair.count == 2, let size = Int(pair[0]), let share = Double(pair[1]),
                    (1...ValueSize.most).contains(size), share > 0
                else { return nil }
                sum += share
                sizes.append((size, sum))
            }
            self = .mixed(sizes.map { ($0.size, $0.upTo / sum) })
        } else {
            let ends = text.split(separator: "-").compactMap { Int($0) }
            guard ends.count == 2, 1 <= ends[0], ends[0] <= ends[1], ends[1] <= ValueSize.most else {
                return nil
            }
            self = .uniform(ends[0]...ends[1])
        }
    }

    func size(of key: Int) -> Int {
        switch self {
        case .fixed(let size): return size
        case .uniform(let range):
            var random = Generator(state: UInt64(key))
            return range.lowerBound + random.below(range.count)
        case .lognormal(let median, let sigma):
            var random = Generator(state: UInt64(key))
            let normal = sqrt(-2 * log(1 - random.fraction())) * cos(2 * .pi * random.fraction())
            return min(ValueSize.most, max(1, Int(median * exp(sigma * normal))))
        case .mixed(let sizes):
            var random = Generator(state: UInt64(key))
            let at = random.fraction()
            return sizes.first { at < $0.upTo }?.size ?? sizes[sizes.count - 1].size
        }
    }
}
