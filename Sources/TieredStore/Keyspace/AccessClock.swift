import Primitives

/// The 24 bits of OBJECT IDLETIME and OBJECT FREQ.
///
/// Shape:  seconds modulo 2^24 of the last access; under an LFU policy | minutes 16 | counter 8 |.
/// Source: the `lru` field of Redis 7.0's object header (logarithmic counter, one decrement a minute).
enum AccessClock {
    static let initialFrequency: UInt32 = 5

    static func idleSeconds(_ entry: Entry, now: UInt32) -> Int {
        Int((now &- entry.accessClock) & 0xff_ffff)
    }

    private static func minutes(_ now: Int64) -> UInt32 { UInt32(truncatingIfNeeded: now / 60000) & 0xffff }

    static func frequency(_ entry: Entry, now: Int64) -> UInt32 {
        let word = entry.accessClock
        let elapsed = (minutes(now) &- word >> 8) & 0xffff
        let counter = word & 0xff
        return counter > elapsed ? counter - elapsed : 0
    }

    static func start(_ entry: Entry, now: Int64) {
        entry.accessClock = minutes(now) << 8 | initialFrequency
    }

    /// Counts an access with probability 1 / (10 × (counter − 5) + 1), as Redis does.
    static func count(_ entry: Entry, now: Int64, random: inout Random) {
        var counter = frequency(entry, now: now)
        if counter < 255 {
            let base = counter > initialFrequency ? counter - initialFrequency : 0
            if random.next() % UInt64(base * 10 + 1) == 0 { counter += 1 }
        }
        entry.accessClock = minutes(now) << 8 | counter
    }
}
