/// Redis's glob patterns: `*`, `?`, `[abc]`, `[^a-z]`, and `\` before a literal byte.
///
/// Every part but `*` takes exactly one byte, so on a mismatch it is enough to let the latest `*`
/// take one byte more: no recursion, and at most pattern × text steps on a*a*a*a*b.
/// Quirks kept from Redis 7.0 util.c, stringmatchlen (x86-64): nothing but the empty pattern
/// matches the empty text, not even `*`; an unterminated class ends with the pattern; bytes in a
/// range compare as signed; an escaped byte inside a class ignores `ignoringCase`.
public struct Glob {
    let pattern: ByteView
    let ignoringCase: Bool

    public init(_ pattern: ByteView, ignoringCase: Bool = false) {
        self.pattern = pattern
        self.ignoringCase = ignoringCase
    }

    /// Matches everything but the empty text without looking at it (KEYS *, SCAN MATCH *).
    public var isStar: Bool { pattern.count == 1 && pattern[0] == UInt8(ascii: "*") }

    /// Whether the whole of `text` matches. Cost: O(pattern × text) at worst, no allocation.
    public func matches(_ text: ByteView) -> Bool {
        if text.isEmpty { return pattern.isEmpty }
        var p = 0
        var t = 0
        var resumePattern = -1
        var resumeText = 0
        while t < text.count {
            if p < pattern.count, pattern[p] == UInt8(ascii: "*") {
                p += 1
                if p == pattern.count { return true }
                resumePattern = p
                resumeText = t
                continue
            }
            if p < pattern.count {
                let after = endOfPart(at: p, matching: text[t])
                if after > 0 {
                    p = after
                    t += 1
                    continue
                }
            }
            guard resumePattern >= 0 else { return false }
            resumeText += 1
            t = resumeText
            p = resumePattern
        }
        while p < pattern.count, pattern[p] == UInt8(ascii: "*") { p += 1 }
        return p == pattern.count
    }

    /// Where the one-byte part at `p` ends if it matches `byte`, else 0.
    private func endOfPart(at p: Int, matching byte: UInt8) -> Int {
        switch pattern[p] {
        case UInt8(ascii: "?"):
            return p + 1
        case UInt8(ascii: "["):
            return endOfClass(from: p + 1, matching: byte)
        case UInt8(ascii: "\\") where p + 1 < pattern.count:
            return same(pattern[p + 1], byte) ? p + 2 : 0
        default:
            return same(pattern[p], byte) ? p + 1 : 0
        }
    }

    private func endOfClass(from start: Int, matching byte: UInt8) -> Int {
        var p = start
        let inverted = p < pattern.count && pattern[p] == UInt8(ascii: "^")
        if inverted { p += 1 }
        var found = false
        while p < pattern.count {
            if pattern[p] == UInt8(ascii: "\\"), p + 1 < pattern.count {
                p += 1
                if pattern[p] == byte { found = true }
            } else if pattern[p] == UInt8(ascii: "]") {
                p += 1
                return found != inverted ? p : 0
            } else if p + 2 < pattern.count, pattern[p + 1] == UInt8(ascii: "-") {
                if inRange(byte, pattern[p], pattern[p + 2]) { found = true }
                p += 2
            } else if same(pattern[p], byte) {
                found = true
            }
            p += 1
        }
        return found != inverted ? p : 0
    }

    private func inRange(_ byte: UInt8, _ a: UInt8, _ b: UInt8) -> Bool {
        var low = Int8(bitPattern: a)
        var high = Int8(bitPattern: b)
        if low > high { swap(&low, &high) }
        guard ignoringCase else {
            let signed = Int8(bitPattern: byte)
            return low <= signed && signed <= high
        }
        let folded = Int8(bitPattern: ByteView.lowercased(byte))
        low = Int8(bitPattern: ByteView.lowercased(UInt8(bitPattern: low)))
        high = Int8(bitPattern: ByteView.lowercased(UInt8(bitPattern: high)))
        return low <= folded && folded <= high
    }

    private func same(_ a: UInt8, _ b: UInt8) -> Bool {
        ignoringCase ? ByteView.lowercased(a) == ByteView.lowercased(b) : a == b
    }
}
