import Primitives
import RESPWire

/// One line of the configuration file.
enum ConfigurationLine {
    /// Its words, the first in lower case; empty for a comment or blank line, nil when quotes do
    /// not balance. Words are split and unescaped as in an inline request, which is Redis's way.
    static func words(_ line: [UInt8]) -> [[UInt8]]? {
        let trimmed = line.drop { $0 == 32 || $0 &- 9 < 5 }
        guard let first = trimmed.first, first != UInt8(ascii: "#") else { return [] }
        guard first != UInt8(ascii: "*") else { return [Array(trimmed)] }
        var input = Array(trimmed) + [10]
        var words = WordList(capacity: 16)
        var parser = RequestParser()
        let count = input.count
        return input.withUnsafeMutableBytes { bytes in
            let base = bytes.baseAddress!
            guard
                case .request(let first, let n, _) = parser.parse(
                    base, count: count, from: 0, into: &words)
            else { return nil }
            let arguments = words.arguments(base, first: first, count: n)
            return (0..<n).map { i in
                i == 0 ? Array(arguments[i].lowercasedText.utf8) : arguments[i].array
            }
        }
    }

    /// A word as it must be written to be read back: quoted where it needs to be.
    static func quoted(_ word: [UInt8]) -> [UInt8] {
        let isPlain = !word.isEmpty && word.allSatisfy {
            $0 > 32 && $0 < 127 && $0 != UInt8(ascii: "\"") && $0 != UInt8(ascii: "'")
                && $0 != UInt8(ascii: "\\") && $0 != UInt8(ascii: "#")
        }
        if isPlain { return word }
        let digits = Array("0123456789abcdef".utf8)
        var out: [UInt8] = [UInt8(ascii: "\"")]
        for byte in word {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"): out += [UInt8(ascii: "\\"), byte]
            case 32..<127: out.append(byte)
            default: out += Array("\\x".utf8) + [digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            }
        }
        out.append(UInt8(ascii: "\""))
        return out
    }

    /// The words of a value given as one: CONFIG SET's argument, a quoted list in the file.
    static func split(_ value: [UInt8]) -> [[UInt8]] {
        value.split(separator: 32).map { Array($0) }
    }
}
