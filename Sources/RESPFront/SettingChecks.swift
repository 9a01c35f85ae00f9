/// Checks of settings that are more than a number, a name or a text.
enum SettingChecks {
    static func percentiles(
        _ words: [String], _: Setting, _: Configuration
    ) throws(Setting.Refusal) -> String {
        var shown: [String] = []
        for word in words {
            guard let share = Double(word), share >= 0, share <= 100 else {
                throw Setting.Refusal("""
                    latency-tracking-info-percentiles parameters should sit between [0.0,100.0]
                    """)
            }
            shown.append(percentile(share))
        }
        return shown.joined(separator: " ")
    }

    /// "99.9", "50".
    static func percentile(_ share: Double) -> String {
        share == share.rounded() ? String(Int(share)) : String(share)
    }

    static func segmentBytes(
        _ words: [String], _: Setting, _: Configuration
    ) throws(Setting.Refusal) -> String {
        guard let bytes = Setting.Kind.memory(words[0]) else {
            throw Setting.Refusal("argument must be a memory value")
        }
        if bytes == 0 { return "0" }
        guard bytes.nonzeroBitCount == 1, bytes >= 64 << 10, bytes <= 64 << 20 else {
            throw Setting.Refusal("argument must be 0 or a power of two between 64kb and 64mb")
        }
        return String(bytes)
    }

    /// Seconds from "3600", "60m", "1h" or "1d".
    static func seconds(
        _ words: [String], _: Setting, _: Configuration
    ) throws(Setting.Refusal) -> String {
        let units: [String: Int64] = ["": 1, "s": 1, "m": 60, "h": 3600, "d": 86400]
        let digits = words[0].prefix { $0.isASCII && $0.isNumber }
        guard let count = Int64(digits), let unit = units[words[0].dropFirst(digits.count).lowercased()],
            count <= Int64(Int32.max) / unit
        else { throw Setting.Refusal("argument must be seconds, or a number with s, m, h or d") }
        return String(count * unit)
    }

    static func save(
        _ words: [String], _: Setting, _: Configuration
    ) throws(Setting.Refusal) -> String {
        let numbers = words.compactMap { Int64($0) }
        let isPairs = numbers.count == words.count && numbers.count % 2 == 0
        for (i, number) in numbers.enumerated() where number < (i % 2 == 0 ? 1 : 0) || !isPairs {
            throw Setting.Refusal("Invalid save parameters")
        }
        guard isPairs else { throw Setting.Refusal("Invalid save parameters") }
        return words.joined(separator: " ")
    }

    static func fileName(
        _ words: [String], _ setting: Setting, _: Configuration
    ) throws(Setting.Refusal) -> String {
        guard words.count == 1, !words[0].contains("/") else {
            throw Setting.Refusal("\(setting.name) can't be a path, just a filename")
        }
        return words[0]
    }

    static func outOfMemoryScores(
        _ words: [String], _: Setting, _: Configuration
    ) throws(Setting.Refusal) -> String {
        guard words.count == 3 else { throw Setting.Refusal("wrong number of arguments") }
        for word in words {
            guard let value = Int(word), (-2000...2000).contains(value) else {
                throw Setting.Refusal(
                    "Invalid oom-score-adj-values, elements must be between -2000 and 2000.")
            }
        }
        return words.joined(separator: " ")
    }

    /// Event classes in the order Redis shows them; all but K, E, m and n together are "A".
    static func events(
        _ words: [String], _: Setting, _: Configuration
    ) throws(Setting.Refusal) -> String {
        let all = "g$lshzxetd"
        var chosen = Set(words[0])
        if chosen.contains("A") { chosen.formUnion(all) }
        guard chosen.isSubset(of: all + "AKEmn") else {
            throw Setting.Refusal("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")
        }
        let classes = chosen.isSuperset(of: all) ? "A" : String(all.filter { chosen.contains($0) })
        return classes + "KEmn".filter { chosen.contains($0) }
    }

    static func noReplication(
        _ words: [String], _: Setting, _: Configuration
    ) throws(Setting.Refusal) -> String {
        if words.isEmpty || words.map({ $0.lowercased() }) == ["no", "one"] { return "" }
        throw Setting.Refusal("replication is not available")
    }
}

/// client-output-buffer-limit as text: class, hard limit, soft limit, seconds, for each class.
enum OutputLimitText {
    typealias Limits = Configuration.OutputLimits

    static func write(_ limits: Limits) -> String {
        func part(_ name: String, _ limit: Limits.Limit) -> String {
            "\(name) \(limit.hardBytes) \(limit.softBytes) \(limit.softSeconds)"
        }
        return [
            part("normal", limits.normal), part("slave", limits.replica),
            part("pubsub", limits.pubsub),
        ].joined(separator: " ")
    }

    /// The classes in `words` are changed, the others are as they were.
    static func check(
        _ words: [String], _: Setting, _ configuration: Configuration
    ) throws(Setting.Refusal) -> String {
        guard words.count % 4 == 0, !words.isEmpty else {
            throw Setting.Refusal("Wrong number of arguments in buffer limit configuration.")
        }
        var limits = configuration.outputLimits
        for i in stride(from: 0, to: words.count, by: 4) {
            let name = words[i].lowercased()
            guard let property = property(name) else {
                throw Setting.Refusal(
                    "Invalid client class specified in buffer limit configuration.")
            }
            guard let hard = Setting.Kind.memory(words[i + 1]),
                let soft = Setting.Kind.memory(words[i + 2]), let seconds = Int64(words[i + 3]),
                seconds >= 0
            else {
                throw Setting.Refusal(
                    "Error in hard, soft or soft_seconds setting in buffer limit configuration.")
            }
            limits[keyPath: property] = Limits.Limit(
                hardBytes: hard, softBytes: soft, softSeconds: seconds)
        }
        return write(limits)
    }

    /// Of text that `write` made.
    static func read(_ text: String) -> Limits {
        let words = text.split(separator: " ").map(String.init)
        var limits = Limits()
        for i in stride(from: 0, to: words.count, by: 4) {
            limits[keyPath: property(words[i])!] = Limits.Limit(
                hardBytes: Int64(words[i + 1])!, softBytes: Int64(words[i + 2])!,
                softSeconds: Int64(words[i + 3])!)
        }
        return limits
    }

    private static func property(_ name: String) -> WritableKeyPath<Limits, Limits.Limit>? {
        switch name {
        case "normal": \.normal
        case "slave", "replica": \.replica
        case "pubsub": \.pubsub
        default: nil
        }
    }
}
