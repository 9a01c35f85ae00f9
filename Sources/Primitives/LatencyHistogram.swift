/// Counts of durations in buckets of at most 1/16 relative width, from 1 ns to 18 minutes.
///
/// Shape:  40 powers of two × 16 linear sub-buckets: one fixed block, no allocation after
///         `init`, mergeable by addition.
/// Units:  nanoseconds.
/// Source: the bucket layout of HdrHistogram (Gil Tene), with 4 significant bits.
public struct LatencyHistogram {
    private var counts: [UInt64]
    public private(set) var count: UInt64 = 0
    public private(set) var sum: UInt64 = 0
    public private(set) var maximum: UInt64 = 0

    public init() { counts = [UInt64](repeating: 0, count: 40 * 16) }

    private static func bucket(_ nanoseconds: UInt64) -> Int {
        if nanoseconds < 16 { return Int(nanoseconds) }
        let exponent = 63 - nanoseconds.leadingZeroBitCount
        let index = (exponent - 3) * 16 + Int((nanoseconds >> UInt64(exponent - 4)) & 15)
        return min(index, 40 * 16 - 1)
    }

    /// The largest duration that falls into a bucket.
    private static func upperBound(_ bucket: Int) -> UInt64 {
        if bucket < 16 { return UInt64(bucket) }
        let exponent = bucket / 16 + 3
        return (UInt64(16 + bucket % 16 + 1) << UInt64(exponent - 4)) - 1
    }

    public mutating func record(_ nanoseconds: UInt64) {
        counts[LatencyHistogram.bucket(nanoseconds)] += 1
        count += 1
        sum &+= nanoseconds
        if nanoseconds > maximum { maximum = nanoseconds }
    }

    public mutating func add(_ other: LatencyHistogram) {
        for i in counts.indices { counts[i] += other.counts[i] }
        count += other.count
        sum &+= other.sum
        maximum = max(maximum, other.maximum)
    }

    public mutating func reset() { self = LatencyHistogram() }

    /// How many were shorter than `limit`, which must be a power of two of at least 16.
    public func count(below limit: UInt64) -> UInt64 {
        precondition(limit >= 16 && limit & (limit - 1) == 0, "the limit must be a bucket's")
        return counts[..<LatencyHistogram.bucket(limit)].reduce(0, +)
    }

    /// The duration that `share` (0…1) of the recorded ones do not exceed; 0 when none was recorded.
    public func percentile(_ share: Double) -> UInt64 {
        guard count > 0 else { return 0 }
        let rank = max(1, UInt64((Double(count) * share).rounded(.up)))
        var seen: UInt64 = 0
        for i in counts.indices {
            seen += counts[i]
            if seen >= rank { return min(LatencyHistogram.upperBound(i), maximum) }
        }
        return maximum
    }
}
