import Glibc

/// Which key a request is for.
enum Distribution {
    case uniform(Int)
    case sequential(Int)
    /// Every key once, in an order without neighbours.
    case once(Int)
    /// A share of requests goes to a share of keys, scattered over the key space.
    case hot(keys: Int, requests: Double, share: Double)
    case zipf(Zipf)

    /// "uniform", "sequential", "once", "hot:0.9:0.02", "zipf:0.99".
    init?(_ text: String, keys: Int) {
        let parts = text.split(separator: ":").map(String.init)
        switch parts.first {
        case "uniform": self = .uniform(keys)
        case "sequential": self = .sequential(keys)
        case "once": self = .once(keys)
        case "hot":
            guard parts.count == 3, let a = Double(parts[1]), let b = Double(parts[2]) else { return nil }
            self = .hot(keys: keys, requests: a, share: b)
        case "zipf":
            guard parts.count == 2, let theta = Double(parts[1]) else { return nil }
            self = .zipf(Zipf(keys: keys, theta: theta))
        default: return nil
        }
    }

    mutating func next(_ random: inout Generator, _ count: Int) -> Int {
        switch self {
        case .uniform(let keys): return random.below(keys)
        case .sequential(let keys): return count % keys
        case .once(let keys):
            return Int(UInt64(count).multipliedFullWidth(by: 2_654_435_761).low % UInt64(keys))
        case .hot(let keys, let requests, let share):
            let hot = max(1, Int(Double(keys) * share))
            if random.fraction() < requests { return Distribution.scatter(random.below(hot), keys) }
            return random.below(keys)
        case .zipf(let zipf): return Distribution.scatter(zipf.next(&random), keys: zipf.keys)
        }
    }

    /// Spreads ranks over the key space, so that neighbours in rank are not neighbours in key.
    private static func scatter(_ rank: Int, _ keys: Int) -> Int {
        Int((UInt64(rank) &* 0x9E37_79B9_7F4A_7C15 >> 11) % UInt64(keys))
    }
    private static func scatter(_ rank: Int, keys: Int) -> Int { scatter(rank, keys) }
}

/// SplitMix64 (Steele et al., 2014).
struct Generator {
    var state: UInt64
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
        return z ^ z >> 31
    }
    mutating func below(_ n: Int) -> Int { Int(next().multipliedFullWidth(by: UInt64(n)).high) }
    mutating func fraction() -> Double { Double(next() >> 11) * 0x1p-53 }
}

/// Zipf-distributed ranks by rejection inversion (Hörmann and Derflinger, 1996).
struct Zipf {
    let keys: Int
    let theta: Double
    private let hIntegralX1: Double
    private let hIntegralN: Double
    private let s: Double

    init(keys: Int, theta: Double) {
        self.keys = keys
        self.theta = theta
        hIntegralX1 = Zipf.integral(1.5, theta) - 1
        hIntegralN = Zipf.integral(Double(keys) + 0.5, theta)
        s = 2 - Zipf.inverse(Zipf.integral(2.5, theta) - pow(2, -theta), theta)
    }

    private static func integral(_ x: Double, _ theta: Double) -> Double {
        let l = log(x)
        return abs(1 - theta) < 1e-9 ? l : (exp((1 - theta) * l) - 1) / (1 - theta)
    }

    private static func inverse(_ x: Double, _ theta: Double) -> Double {
        if abs(1 - theta) < 1e-9 { return exp(x) }
        return exp(log(max(1 + x * (1 - theta), 0)) / (1 - theta))
    }

    func next(_ random: inout Generator) -> Int {
        while true {
            let u = hIntegralN + random.fraction() * (hIntegralX1 - hIntegralN)
            let x = Zipf.inverse(u, theta)
            let k = min(max(Int(x + 0.5), 1), keys)
            if Double(k) - x <= s || u >= Zipf.integral(Double(k) + 0.5, theta) - pow(Double(k), -theta) {
                return k - 1
            }
        }
    }
}

/// What a key's value must be: bytes that follow from key, size and version, and do not compress.
enum Content {
    static func fill(_ target: UnsafeMutableRawPointer, key: Int, size: Int) {
        var word = UInt64(key) &* 0xD6E8_FEB8_6659_FD93 | 1
        var at = 0
        while at + 8 <= size {
            word ^= word << 13
            word ^= word >> 7
            word ^= word << 17
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
            word ^= word << 13
            word ^= word >> 7
            word ^= word << 17
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
}
