import Primitives

/// Encodes requests as clients send them: arrays of bulk strings.
public enum RequestWriter {
    /// Appends one request to `out`.
    public static func write(_ words: [[UInt8]], to out: inout [UInt8]) {
        precondition(!words.isEmpty, "a request has at least its name")
        out += "*\(words.count)\r\n".utf8
        for word in words {
            out += "$\(word.count)\r\n".utf8
            out += word
            out += "\r\n".utf8
        }
    }

    public static func bytes(_ words: [[UInt8]]) -> [UInt8] {
        var out: [UInt8] = []
        write(words, to: &out)
        return out
    }

    public static func bytes(_ words: [String]) -> [UInt8] { bytes(words.map { Array($0.utf8) }) }
}
