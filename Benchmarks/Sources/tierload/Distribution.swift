import Glibc

/// Which key a request is for.
enum Distribution: Sendable {
    case uniform(Int)
    /// One key after the other, again and again.
    case scan(Int)
    /// Every key once, in an order without neighbours.
    case once(Int)
    /// A share of requests goes to a share of keys, scattered over the key space.
    case hot(keys: Int, requests: Double, share: Double)
    case zipf(Zipf)

    /// "uniform", "scan", "once", "hot:0.9:0.02", "zipf:0.99".
    init?(_ text: String, keys: Int) {
        let parts = text.split(separator: ":").map(String.init)
        switch (parts.first, parts.count) {
        case ("uniform", 1): self = .uniform(keys)
        case ("scan", 1): self = .scan(keys)
        case ("once", 1): self = .once(keys)
        case ("hot", 3):
            guard let requests = Double(parts[1]), let share = Double(parts[2]),
                (0...1).contains(requests), (0...1).contains(share)
            else { return nil }
            self = .hot(keys: keys, requests: requests, share: share)
        case ("zipf", 2):
            guard let theta = Double(parts[1]), theta > 0, theta < 10 else { return nil }
            self = .zipf(Zipf(keys: keys, theta: theta))
        default: return nil
        }
    }

    /// The key of request number `count`, counted over all threads.
    func next(_ random: inout Generator, _ count: Int) -> Int {
        switch self {
        case .uniform(let keys): return random.below(keys)
        case .scan(let keys): return count % keys
        case .once(let keys):
            return Int(UInt64(count).multipliedFullWidth(by: 2_654_435_761).low % UInt64(keys))
        case .hot(let keys, let requests, let share):
            guard random.fraction() < requests else { return random.below(keys) }
            return Distribution.scatter(random.below(max(1, Int(Double(keys) * share))), keys)
        case .zipf(let zipf): return Distribution.scatter(zipf.next(&random), zipf.keys)
        }
    }

    /// Spreads ranks over the key space, so that neighbours in rank are not neighbours in key.
    private static func scatter(_ rank: Int, _ keys: Int) -> Int {
        Int((UInt64(rank) &* 0x9E37_79B9_7F4A_7C15 >> 11) % UInt64(keys))
    }
}

/// Zipf-distributed ranks by rejection inversion (Hörmann and Derflinger, 1996).
struct Zipf: Sendable {
    let keys: Int
    let theta: Double
    private let integralFirst: Double
    private let integralLast: Double
    private let squeeze: Double

    init(keys: Int, theta: Double) {
        self.keys = keys
        self.theta = theta
        integralFirst = Zipf.integral(1.5, theta) - 1
        integralLast = Zipf.integral(Double(keys) + 0.5, theta)
        squeeze = 2 - Zipf.inverse(Zipf.integral(2.5, theta) - pow(2, -theta), theta)
    }

    private static func integral(_ x: Double, _ theta: Double) -> Double {
        let logarithm = log(x)
        return abs(1 - theta) < 1e-9 ? logarithm : (exp((1 - theta) * logarithm) - 1) / (1 - theta)
    }

    private static func inverse(_ x: Double, _ theta: Double) -> Double {
        if abs(1 - theta) < 1e-9 { return exp(x) }
        return exp(log(max(1 + x * (1 - theta), 0)) / (1 - theta))
    }

    func next(_ random: inout Generator) -> Int {
        while true {
            let u = integralLast + random.fraction() * (integralFirst - integralLast)
            let x = Zipf.inverse(u, theta)
            let rank = min(max(Int(x + 0.5), 1), keys)
            let edge = Zipf.integral(Double(rank) + 0.5, theta) - pow(Double(rank), -theta)
            if Double(rank) - x <= squeeze || u >= edge { return rank - 1 }
        }
    }
}
