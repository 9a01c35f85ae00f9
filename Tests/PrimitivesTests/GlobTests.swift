import Primitives
import Testing

/// Method: a table of patterns and texts with redis-server 7.0.15's verdict; then patterns that
/// take a backtracking matcher longer than the age of the universe.
@Suite struct GlobTests {
    static func matches(_ pattern: String, _ text: String, ignoringCase: Bool = false) -> Bool {
        Array(pattern.utf8).withView { p in
            Array(text.utf8).withView { Glob(p, ignoringCase: ignoringCase).matches($0) }
        }
    }

    @Test(arguments: [
        ("*", "a", true), ("*", "", false), ("", "", true), ("", "a", false), ("a", "a", true),
        ("a*", "a", true), ("a**", "abc", true), ("*a", "ba", true), ("*a", "ab", false),
        ("a*b*c", "aXbXbXc", true), ("a*b*c", "aXbXbX", false), ("?", "a", true),
        ("?", "ab", false), ("??", "ab", true), ("h[ae]llo", "hello", true),
        ("h[ae]llo", "hillo", false), ("h[^e]llo", "hallo", true), ("h[^e]llo", "hello", false),
        ("h[a-c]llo", "hbllo", true), ("h[c-a]llo", "hbllo", true), ("h[a-c]llo", "hdllo", false),
        ("[]", "a", false), ("[]a", "a", false), ("[^]", "a", true), ("[abc", "b", true),
        ("[abc", "d", false), ("[", "[", false), ("[^", "a", true), ("[a-", "-", true),
        ("[a-", "a", true), ("[\\]]", "]", true), ("[\\a-c]", "b", false), ("[a\\", "\\", true),
        ("\\*", "*", true), ("\\*", "a", false), ("a\\", "a\\", true), ("\\a", "a", true),
        ("[*]", "*", true), ("[?]x", "?x", true), ("*[bc]d", "abcd", true), ("*?", "a", true),
        ("*??", "a", false), ("a*", "b", false), ("A", "a", false), ("user:*:[0-9]", "user:x:7", true),
    ]) func verdictIsRedis(_ pattern: String, _ text: String, _ expected: Bool) {
        #expect(Self.matches(pattern, text) == expected)
    }

    @Test(arguments: [
        ("HeLLo*", "hEllO!", true), ("[A-C]", "b", true), ("[a-c]", "B", true), ("[X]", "x", true),
        ("\\A", "a", true), ("[\\A]", "a", false), ("?b", "AB", true), ("a", "b", false),
    ]) func caseCanBeIgnored(_ pattern: String, _ text: String, _ expected: Bool) {
        #expect(Self.matches(pattern, text, ignoringCase: true) == expected)
    }

    @Test(.timeLimit(.minutes(1))) func manyStarsCostNoMoreThanPatternTimesText() {
        let text = String(repeating: "a", count: 5_000)
        #expect(!Self.matches(String(repeating: "a*", count: 500) + "b", text))
        #expect(!Self.matches(String(repeating: "*?", count: 500) + "b", text))
        #expect(Self.matches(String(repeating: "a*", count: 500), text))
    }
}
