import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;

/**
 * Opens sessions with pgjdbc as the lines of standard input say: `keyword=value` in libpq's names. Prints a line for
 * each: where a read and a write ran (`t` is a standby), or why there is no session.
 */
public class Matrix {
    static final String READ = "select pg_is_in_recovery()";
    static final String WRITE = "insert into matrix_t values ('x') returning pg_is_in_recovery()";

    static String session(Map<String, String> given) throws SQLException {
        Properties properties = new Properties();
        properties.setProperty("user", given.get("user"));
        properties.setProperty("password", given.get("password"));
        properties.setProperty("sslmode", given.get("sslmode"));
        properties.setProperty("loginTimeout", "30");
        if (given.containsKey("sslcert")) {
            properties.setProperty("sslcert", given.get("sslcert"));
            // This driver reads keys in DER alone.
            properties.setProperty("sslkey", given.get("sslkey") + ".pk8");
        }
        String url = "jdbc:postgresql://" + given.get("host") + ":" + given.get("port") + "/" + given.get("dbname");
        try (Connection connection = DriverManager.getConnection(url, properties);
                Statement statement = connection.createStatement()) {
            StringBuilder places = new StringBuilder();
            for (String sql : new String[] {READ, WRITE}) {
                try (ResultSet rows = statement.executeQuery(sql)) {
                    rows.next();
                    places.append(places.length() == 0 ? "" : " ").append(rows.getString(1));
                }
            }
            return places.toString();
        }
    }

    public static void main(String[] arguments) throws Exception {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            Map<String, String> given = new HashMap<>();
            for (String word : line.trim().split(" ")) {
                String[] pair = word.split("=", 2);
                given.put(pair[0], pair[1]);
            }
            String outcome;
            try {
                outcome = session(given);
            } catch (SQLException error) {
                String state = error.getSQLState() == null ? "" : error.getSQLState();
                outcome = state + " " + String.valueOf(error.getMessage()).replaceAll("\\s+", " ");
            }
            System.out.println(outcome);
        }
    }
}
