//! What goes into a statement and what comes out of it, the same on both databases.

use chrono::{DateTime, Utc};
use domain::id::{BatchId, DeliveryId, EventId, FileId, KeyId, RequestId, TenantId, WorkerId};
use serde::Serialize;
use sqlx::{Arguments, Decode, Encode, Postgres, Row as _, Sqlite, Type, postgres::PgRow, sqlite::SqliteRow};
use uuid::Uuid;

use crate::{Error, Result};

/// A parameter of a statement.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Uuid(Option<Uuid>),
    Int(Option<i64>),
    Float(Option<f64>),
    Bool(bool),
    Text(Option<String>),
    Bytes(Vec<u8>),
}

/// The parameters of a statement, in the order of their numbers.
macro_rules! args {
    ($($value:expr),* $(,)?) => { vec![$($crate::store::value::Value::from($value)),*] };
}
pub(super) use args;

/// Many rows as one parameter, read by `json_to_recordset`.
pub(super) fn rows<T: Serialize>(rows: impl IntoIterator<Item = T>) -> Result<Value> {
    let rows: Vec<T> = rows.into_iter().collect();
    let text = serde_json::to_string(&rows).map_err(|error| Error::Corrupt(error.to_string()))?;
    Ok(Value::Text(Some(text)))
}

/// Ids as one parameter, read by `json_to_recordset($1::json) as given(id uuid)`.
pub(super) fn ids(ids: impl IntoIterator<Item = Uuid>) -> Result<Value> {
    #[derive(Serialize)]
    struct Given {
        id: Uuid,
    }
    rows(ids.into_iter().map(|id| Given { id }))
}

/// Claims as one parameter, read by `json_to_recordset($1::json) as given(id uuid, epoch integer)`.
pub(super) fn claims(claims: &[(RequestId, i32)]) -> Result<Value> {
    #[derive(Serialize)]
    struct Given {
        id: Uuid,
        epoch: i32,
    }
    rows(claims.iter().map(|&(id, epoch)| Given { id: id.uuid(), epoch }))
}

macro_rules! from {
    ($($kind:ty => |$value:ident| $variant:expr;)*) => {$(
        impl From<$kind> for Value {
            fn from($value: $kind) -> Self {
                $variant
            }
        }
    )*};
}

from! {
    Uuid => |id| Self::Uuid(Some(id));
    TenantId => |id| id.uuid().into();
    KeyId => |id| id.uuid().into();
    FileId => |id| id.uuid().into();
    BatchId => |id| id.uuid().into();
    RequestId => |id| id.uuid().into();
    EventId => |id| id.uuid().into();
    DeliveryId => |id| id.uuid().into();
    WorkerId => |id| id.uuid().into();
    Option<FileId> => |id| Self::Uuid(id.map(FileId::uuid));
    i64 => |number| Self::Int(Some(number));
    Option<i64> => |number| Self::Int(number);
    i32 => |number| i64::from(number).into();
    u16 => |number| i64::from(number).into();
    Option<u16> => |number| Self::Int(number.map(i64::from));
    u32 => |number| i64::from(number).into();
    // No count of ours comes near the limit of a bigint.
    u64 => |number| i64::try_from(number).unwrap_or(i64::MAX).into();
    Option<u64> => |number| Self::Int(number.map(|number| i64::try_from(number).unwrap_or(i64::MAX)));
    usize => |number| i64::try_from(number).unwrap_or(i64::MAX).into();
    f64 => |number| Self::Float(Some(number));
    f32 => |number| f64::from(number).into();
    Option<f32> => |number| Self::Float(number.map(f64::from));
    bool => |truth| Self::Bool(truth);
    &str => |text| Self::Text(Some(text.to_owned()));
    &String => |text| text.as_str().into();
    String => |text| Self::Text(Some(text));
    Option<&str> => |text| Self::Text(text.map(str::to_owned));
    Option<String> => |text| Self::Text(text);
    &[u8] => |bytes| Self::Bytes(bytes.to_owned());
}

/// Binds values for one of the databases.
pub(super) fn arguments<'t, A>(values: Vec<Value>) -> std::result::Result<A, sqlx::Error>
where
    A: Arguments,
    Option<Uuid>: Encode<'t, A::Database> + Type<A::Database>,
    Option<i64>: Encode<'t, A::Database> + Type<A::Database>,
    Option<f64>: Encode<'t, A::Database> + Type<A::Database>,
    bool: Encode<'t, A::Database> + Type<A::Database>,
    Option<String>: Encode<'t, A::Database> + Type<A::Database>,
    Vec<u8>: Encode<'t, A::Database> + Type<A::Database>,
{
    let mut arguments = A::default();
    for value in values {
        match value {
            Value::Uuid(id) => arguments.add(id),
            Value::Int(number) => arguments.add(number),
            Value::Float(number) => arguments.add(number),
            Value::Bool(truth) => arguments.add(truth),
            Value::Text(text) => arguments.add(text),
            Value::Bytes(bytes) => arguments.add(bytes),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

/// A row of either database.
pub(super) enum Row {
    Postgres(PgRow),
    Sqlite(SqliteRow),
}

/// What both databases can give back.
pub(super) trait Scalar: for<'r> Decode<'r, Postgres> + Type<Postgres> + for<'r> Decode<'r, Sqlite> + Type<Sqlite> {}

impl<T> Scalar for T where T: for<'r> Decode<'r, Postgres> + Type<Postgres> + for<'r> Decode<'r, Sqlite> + Type<Sqlite> {}

impl Row {
    /// A column, read as the type that the migrations give it.
    pub(super) fn get<T: Scalar>(&self, column: &'static str) -> Result<T>
    where
        Option<T>: Scalar,
    {
        self.optional(column)?.ok_or_else(|| Error::Corrupt(format!("`{column}` is null")))
    }

    /// A column that may be null.
    pub(super) fn optional<T>(&self, column: &'static str) -> Result<Option<T>>
    where
        Option<T>: Scalar,
    {
        Ok(match self {
            Self::Postgres(row) => row.try_get(column)?,
            Self::Sqlite(row) => row.try_get(column)?,
        })
    }

    /// An id.
    pub(super) fn id<T: From<Uuid>>(&self, column: &'static str) -> Result<T> {
        Ok(self.get::<Uuid>(column)?.into())
    }

    /// An id that may be null.
    pub(super) fn optional_id<T: From<Uuid>>(&self, column: &'static str) -> Result<Option<T>> {
        Ok(self.optional::<Uuid>(column)?.map(T::from))
    }

    /// A bigint that counts something.
    pub(super) fn count(&self, column: &'static str) -> Result<u64> {
        let count: i64 = self.get(column)?;
        u64::try_from(count).map_err(|_| Error::Corrupt(format!("`{column}` is {count}")))
    }

    /// An integer that counts something.
    pub(super) fn small_count(&self, column: &'static str) -> Result<u32> {
        let count: i32 = self.get(column)?;
        u32::try_from(count).map_err(|_| Error::Corrupt(format!("`{column}` is {count}")))
    }

    /// A time, in Unix seconds.
    pub(super) fn time(&self, column: &'static str) -> Result<i64> {
        Ok(self.get::<DateTime<Utc>>(column)?.timestamp())
    }

    /// A time that may be null, in Unix seconds.
    pub(super) fn optional_time(&self, column: &'static str) -> Result<Option<i64>> {
        Ok(self.optional::<DateTime<Utc>>(column)?.map(|time| time.timestamp()))
    }

    /// A text that names a value of an enum.
    pub(super) fn named<T>(&self, column: &'static str, from_name: impl Fn(&str) -> Option<T>) -> Result<T> {
        let name: String = self.get(column)?;
        from_name(&name).ok_or_else(|| Error::Corrupt(format!("`{column}` is `{name}`")))
    }
}
