"""The project. PyMySQL stands in for MySQLdb, so that nothing needs a compiler."""
import pymysql

pymysql.install_as_MySQLdb()
