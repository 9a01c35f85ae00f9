/// Latencies in nanoseconds in buckets of 1/32 relative width (the layout of HdrHistogram).
struct Histogram {
    private var counts = [Int](repeating: 0, count: 40 * 32)
    private(set) var count = 0
    private(set) var maximum: UInt64 = 0

    mutating func record(_ value: UInt64) {
        let exponent = value < 32 ? 0 : 58 - value.leadingZeroBitCount
        let slot = (exponent + 1) * 32 + Int(value >> UInt64(exponent)) - 32
        let index = value < 32 ? Int(value) : min(40 * 32 - 1, slot)
        counts[index] += 1
        count += 1
        if value > maximum { maximum = value }
    }

    func percentile(_ share: Double) -> Double {
        guard count > 0 else { return 0 }
        let rank = max(1, Int((Double(count) * share).rounded(.up)))
        var seen = 0
        for i in counts.indices {
            seen += counts[i]
            if seen >= rank {
                let upper = i < 32 ? i : ((i % 32 + 33) << (i / 32 - 1)) - 1
                return Double(min(UInt64(upper), maximum))
            }
        }
        return Double(maximum)
    }
}
