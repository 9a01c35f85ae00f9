import Primitives

/// One setting: all the server knows about it, in one row of `SettingTable`. The configuration
/// file, the command line, CONFIG GET, SET and REWRITE derive from it.
struct Setting: Sendable {
    /// When a setting may change: any time, only at start, or only at start because changing it
    /// would let a client write anywhere (Redis 7.0 `enable-protected-configs`).
    enum Change: Sendable { case live, atStart, protected }

    /// Where the value is: in a property the server reads, or only kept to be given back.
    enum Place: Sendable {
        case stored(String)
        case property(
            get: @Sendable (Configuration) -> String, set: @Sendable (Configuration, String) -> Void
        )
        /// Bytes that need not be text: passwords.
        case bytes(
            get: @Sendable (Configuration) -> [UInt8],
            set: @Sendable (Configuration, [UInt8]) -> Void)
    }

    let name: String
    /// Redis's older name for the same setting.
    let alias: String?
    let kind: Kind
    let change: Change
    let place: Place
    /// CONFIG GET * does not show it.
    let isHidden: Bool
    /// Its value does not go into the slow log.
    let isSensitive: Bool
    /// Why a value other than the default is refused: the feature it asks for does not exist.
    let unavailable: String?

    init(
        _ name: String, alias: String? = nil, _ kind: Kind, _ change: Change = .live,
        _ place: Place,
        isHidden: Bool = false, isSensitive: Bool = false, unavailable: String? = nil
    ) {
        self.name = name
        self.alias = alias
        self.kind = kind
        self.change = change
        self.place = place
        self.isHidden = isHidden
        self.isSensitive = isSensitive
        self.unavailable = unavailable
    }

    /// The value in the form CONFIG GET shows.
    func value(_ configuration: Configuration) -> [UInt8] {
        switch place {
        case .stored(let initial): configuration.stored[name] ?? Array(initial.utf8)
        case .property(let get, _): Array(get(configuration).utf8)
        case .bytes(let get, _): get(configuration)
        }
    }

    /// Stores a value that `canonical` returned.
    func assign(_ value: [UInt8], in configuration: Configuration) {
        switch place {
        case .stored: configuration.stored[name] = value
        case .property(_, let set): set(configuration, String(decoding: value, as: UTF8.self))
        case .bytes(_, let set): set(configuration, value)
        }
    }

    /// The words given for the setting in the one form its value is kept in, or why they are no
    /// value for it.
    func canonical(
        _ words: [[UInt8]], _ configuration: Configuration
    ) throws(Refusal) -> [UInt8] {
        let value = try kind.canonical(words, of: self, configuration)
        if let unavailable, value != self.value(Configuration()) { throw Refusal(unavailable) }
        return value
    }

    /// A value's words as the configuration file has them.
    func line(_ value: [UInt8]) -> [UInt8] {
        var line = Array((name + " ").utf8)
        if kind.isList, !value.isEmpty { return line + value }
        line += ConfigurationLine.quoted(value)
        return line
    }

    /// Why a value is refused, in Redis 7.0's words.
    struct Refusal: Error {
        let reason: String
        init(_ reason: String) { self.reason = reason }
    }
}

/// What values a setting takes.
extension Setting {
    enum Kind: Sendable {
        case flag
        case integer(ClosedRange<Int64>)
        /// Bytes, with k, kb, m, mb, g or gb.
        case memory(ClosedRange<Int64>)
        case memoryOrPercent
        case octal
        case choice([String])
        /// Several of these, in this order.
        case choices([String])
        case text
        /// Several words.
        case words
        /// Anything else.
        case checked(
            isList: Bool, @Sendable ([String], Setting, Configuration) throws(Refusal) -> String)

        /// Whether the value is several words.
        var isList: Bool {
            switch self {
            case .words, .choices: true
            case .checked(let isList, _): isList
            default: false
            }
        }

        func canonical(
            _ words: [[UInt8]], of setting: Setting, _ configuration: Configuration
        ) throws(Refusal) -> [UInt8] {
            guard isList || words.count == 1 else { throw Refusal("wrong number of arguments") }
            if case .text = self { return words[0] }
            let texts = words.map { String(decoding: $0, as: UTF8.self) }
            switch self {
            case .flag: return Array(try Kind.flag(texts[0]).utf8)
            case .integer(let range):
                guard let value = words[0].withView({ Decimal.int64($0) }) else {
                    throw Refusal("argument couldn't be parsed into an integer")
                }
                return Array(String(try Kind.check(value, range)).utf8)
            case .memory(let range):
                guard let value = Kind.memory(texts[0]) else {
                    throw Refusal("argument must be a memory value")
                }
                return Array(String(try Kind.check(value, range)).utf8)
            case .memoryOrPercent: return Array(try Kind.memoryOrPercent(texts[0]).utf8)
            case .octal: return Array(try Kind.octal(texts[0]).utf8)
            case .choice(let names): return Array(try Kind.choose(texts, from: names).utf8)
            case .choices(let names): return Array(try Kind.choose(texts, from: names).utf8)
            case .text: return words[0]
            case .words: return Array(texts.joined(separator: " ").utf8)
            case .checked(_, let check): return Array(try check(texts, setting, configuration).utf8)
            }
        }

        private static func flag(_ text: String) throws(Refusal) -> String {
            let value = text.lowercased()
            guard value == "yes" || value == "no" else {
                throw Refusal("argument must be 'yes' or 'no'")
            }
            return value
        }

        private static func check(_ value: Int64, _ range: ClosedRange<Int64>) throws(Refusal)
            -> Int64
        {
            guard range.contains(value) else {
                throw Refusal(
                    "argument must be between \(range.lowerBound) and \(range.upperBound) inclusive"
                )
            }
            return value
        }

        /// Bytes from "64", "64kb" (1024) or "64k" (1000); nil for anything else.
        static func memory(_ text: String) -> Int64? {
            let digits = text.prefix { $0.isASCII && $0.isNumber }
            let units: [String: Int64] = [
                "": 1, "b": 1, "k": 1000, "kb": 1 << 10, "m": 1_000_000, "mb": 1 << 20,
                "g": 1_000_000_000, "gb": 1 << 30,
            ]
            guard let count = Int64(digits),
                let unit = units[text.dropFirst(digits.count).lowercased()]
            else { return nil }
            let (bytes, overflow) = count.multipliedReportingOverflow(by: unit)
            return overflow ? nil : bytes
        }

        private static func memoryOrPercent(_ text: String) throws(Refusal) -> String {
            if text.hasSuffix("%"), let share = Int64(text.dropLast()), share >= 0 { return text }
            guard let bytes = memory(text) else {
                throw Refusal("argument must be a memory or percent value")
            }
            return String(bytes)
        }

        private static func octal(_ text: String) throws(Refusal) -> String {
            guard let value = UInt32(text, radix: 8) else {
                throw Refusal("argument couldn't be parsed as an octal number")
            }
            guard value <= 0o777 else {
                throw Refusal("argument must be between 0 and 777 inclusive")
            }
            return String(value, radix: 8)
        }

        private static func choose(_ texts: [String], from names: [String]) throws(Refusal)
            -> String
        {
            let chosen = texts.map { $0.lowercased() }
            guard !chosen.isEmpty, chosen.allSatisfy({ names.contains($0) }) else {
                throw Refusal(
                    "argument(s) must be one of the following: \(names.joined(separator: ", "))")
            }
            return names.filter { chosen.contains($0) }.joined(separator: " ")
        }
    }
}
